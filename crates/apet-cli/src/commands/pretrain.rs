//! `apet pretrain`: a family of models from plain text: one tokenizer, one corpus, one recipe, only the
//! sizes differ. An interrupted model resumes from its last checkpoint.

mod corpus;
mod ladder;
mod log;
mod tokenizer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use apet_plm::{
    Config, Dtype, ModelArchitecture, Plm, PlmFiles, Random, TensorInfo, Weights, floats,
};
use apet_record::{Objective, Pooling};
use apet_store::{convert, write_atomic};
use apet_theta::Merged;
use apet_train::{Pretrainer, Recipe};
use burn::Tensor;
use clap::Args;
use futures_lite::future::block_on;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::runner::{device, signal};
use ladder::{Ladder, Rung};
use log::Log;

/// Steps between reads of the loss.
const READ_EVERY: usize = 50;

/// Arguments of `apet pretrain`.
#[derive(Debug, Args)]
pub(crate) struct PretrainArgs {
    /// The family: corpus, tokenizer, recipe and models (example: ladder.toml)
    file: PathBuf,
    /// Write the models to DIR, and intermediate files to DIR/work
    #[arg(short, long, alias = "out", value_name = "DIR")]
    output: PathBuf,
    /// Train only this model of the file
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Stop after N minutes; the same command resumes
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Write a checkpoint every N steps
    #[arg(long, value_name = "N", default_value_t = 500)]
    checkpoint_every: usize,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// How a model's training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Stopped,
}

/// Trains the family, or one model of it.
///
/// # Errors
/// Names the file, the field, what was found and what was expected.
pub(crate) fn pretrain(args: &PretrainArgs) -> Result<()> {
    let shown = args.file.display();
    let text = fs::read_to_string(&args.file).with_context(|| shown.to_string())?;
    let ladder: Ladder = toml::from_str(&text).with_context(|| shown.to_string())?;
    ensure!(
        (300..=usize::from(u16::MAX)).contains(&ladder.vocabulary),
        "{shown}: vocabulary: found {}, expected 300 to 65535",
        ladder.vocabulary
    );
    let wanted = |rung: &&Rung| args.model.as_ref().is_none_or(|name| *name == rung.name);
    let rungs: Vec<&Rung> = ladder.model.iter().filter(wanted).collect();
    if rungs.is_empty() {
        let names: Vec<&str> = ladder.model.iter().map(|rung| &rung.name[..]).collect();
        bail!("{shown}: has the models {}", names.join(", "));
    }
    let until = args.minutes.map(|minutes| {
        let length = Duration::try_from_secs_f64(60.0 * minutes);
        let end = length
            .ok()
            .and_then(|length| Instant::now().checked_add(length));
        end.with_context(|| format!("--minutes: found {minutes}, expected 0 or more minutes"))
    });
    let slice = Slice {
        stop: signal::stop()?,
        until: until.transpose()?,
    };
    for rung in rungs {
        let paths = Paths {
            ladder: &ladder,
            folder: args.file.parent().unwrap_or(Path::new("")),
            work: args.output.join("work"),
            out: args.output.join(&rung.name),
        };
        if train(args, rung, &paths, &slice).with_context(|| format!("{shown}: {}", rung.name))?
            == End::Stopped
        {
            println!("{}: stopped; run the same command to resume", rung.name);
            return Ok(());
        }
    }
    Ok(())
}

/// When to end for now.
struct Slice {
    stop: Arc<AtomicBool>,
    until: Option<Instant>,
}

impl Slice {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Where a model's files are.
struct Paths<'a> {
    ladder: &'a Ladder,
    folder: &'a Path,
    work: PathBuf,
    out: PathBuf,
}

impl Paths<'_> {
    fn text(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

fn train(args: &PretrainArgs, rung: &Rung, paths: &Paths<'_>, slice: &Slice) -> Result<End> {
    if paths.out.join("model.safetensors").is_file() {
        println!("{}: is there", rung.name);
        return Ok(End::Done);
    }
    let mut recipe = paths.ladder.recipe.clone();
    recipe.extend(rung.recipe.clone());
    let recipe: Recipe = serde_json::from_value(recipe.into()).context("recipe")?;
    let kind = tokenizer::kind_of(
        rung.config
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    )?;
    let corpus_path = paths.text(&paths.ladder.corpus);
    let tokenizer = tokenizer::trained(kind, &corpus_path, paths.ladder.vocabulary, &paths.work)?;
    let corpus = corpus::tokens(&tokenizer, kind, &corpus_path, &paths.work)?;
    let held_out = paths.text(&paths.ladder.validation);
    let held_out = corpus::tokens(&tokenizer, kind, &held_out, &paths.work)?;

    let mut config = rung.config.clone();
    config.insert("vocab_size".into(), paths.ladder.vocabulary.into());
    let config = serde_json::to_string_pretty(&config)?;
    let architecture = ModelArchitecture::new(&rung.name, Config::read("config", &config)?);
    let opened = device::open(&args.device)?;
    let random = Random::new(&architecture, Dtype::F32);
    let files = PlmFiles {
        name: &rung.name,
        config: &config,
        tokenizer: &tokenizer.json,
        weights: &random,
    };
    let plm = Plm::load(files, Dtype::F32, &opened.device)?;
    let marks = tokenizer.marks(kind)?;
    let mut pretrainer = Pretrainer::new(&plm, &recipe, marks, &corpus)?;
    let checkpoint = paths
        .work
        .join(format!("{}.checkpoint.safetensors", rung.name));
    if checkpoint.is_file() {
        let bytes = fs::read(&checkpoint).with_context(|| checkpoint.display().to_string())?;
        pretrainer
            .restore(&bytes)
            .with_context(|| checkpoint.display().to_string())?;
    }
    let log = paths.work.join(format!("{}.jsonl", rung.name));
    let mut log = Log::open(&log, pretrainer.steps())?;

    let bar = ProgressBar::new(recipe.steps as u64);
    bar.set_style(ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} steps, {eta} left  {msg}",
    )?);
    bar.println(format!(
        "{}: {} parameters, {} tokens of text, {} of each step",
        rung.name,
        plm.info().parameters,
        corpus.len(),
        recipe.batch_size * recipe.length
    ));
    bar.set_position(pretrainer.steps() as u64);
    let mut losses = Vec::new();
    let mut begun = Instant::now();
    let mut end = End::Done;
    while pretrainer.steps() < recipe.steps {
        losses.push(pretrainer.step());
        let step = pretrainer.steps();
        let is_last = step == recipe.steps;
        let is_over = !is_last && slice.is_over();
        let validate = step.is_multiple_of(recipe.validate_every) || is_last;
        let keep = step.is_multiple_of(args.checkpoint_every) || is_last || is_over;
        // A resumed model has no other record of its earlier steps.
        if step.is_multiple_of(READ_EVERY) || validate || keep {
            let read = Tensor::cat(std::mem::take(&mut losses), 0).into_data_async();
            let read = block_on(read).map_err(|e| anyhow::anyhow!("{e}"))?;
            let read: Vec<f32> = read.iter().collect();
            let tokens = (read.len() * recipe.batch_size * recipe.length) as f64;
            let speed = tokens / begun.elapsed().as_secs_f64();
            begun = Instant::now();
            let first = step + 1 - read.len();
            for (step, loss) in (first..).zip(&read) {
                ensure!(
                    loss.is_finite(),
                    "the loss is not a number at step {step}; a smaller learning rate may help"
                );
                log.step(step, *loss, recipe.rate(step - 1))?;
            }
            let mean = read.iter().sum::<f32>() / read.len() as f32;
            bar.set_position(step as u64);
            bar.set_message(format!("loss {mean:.3}, {speed:.0} tokens/s{}", log.last()));
        }
        if validate {
            let guesses = block_on(pretrainer.validate(&held_out))?;
            log.validation(step, guesses)?;
            begun = Instant::now();
        }
        if keep {
            log.sync()?;
            let bytes = block_on(pretrainer.checkpoint())?;
            write_atomic(&checkpoint, |out| Ok(out.write_all(&bytes)?))?;
        }
        if is_over {
            end = End::Stopped;
            break;
        }
    }
    bar.finish_and_clear();
    if end == End::Done {
        let values = block_on(pretrainer.theta().values().into_data_async());
        let values = values
            .map_err(|e| anyhow::anyhow!("{e}"))?
            .try_to_vec::<f32>();
        let values = values.map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let whole = (Objective::LabelWords, Pooling::Mean);
        let merged = Merged::new(
            Box::new(Random::new(&architecture, Dtype::F32)),
            pretrainer.theta(),
            &plm,
            &values,
            whole,
        );
        let weights = Half(block_on(merged)?);
        let card = log::card(
            rung,
            paths.ladder,
            &plm,
            &recipe,
            corpus.len(),
            &log.validations()?,
        );
        write_atomic(&paths.out.join("README.md"), |out| {
            Ok(out.write_all(card.as_bytes())?)
        })?;
        convert::write(
            &weights,
            [config.into_bytes(), tokenizer.json.clone()],
            &paths.out,
        )?;
        println!("{}: {}", rung.name, paths.out.display());
    }
    Ok(end)
}

/// Weights in f16.
struct Half(Merged);

impl Weights for Half {
    fn file(&self) -> &str {
        self.0.file()
    }

    fn names(&self) -> Vec<&str> {
        self.0.names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let info = self.0.info(name)?;
        Some(TensorInfo {
            dtype: Ok(Dtype::F16),
            ..info
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let mut wide = vec![0; 2 * into.len()];
        self.0.read(name, 2 * offset, &mut wide)?;
        let narrow = floats(Dtype::F32, &wide).into_iter();
        let narrow = narrow.flat_map(|value| half::f16::from_f32(value).to_le_bytes());
        into.iter_mut()
            .zip(narrow)
            .for_each(|(to, from)| *to = from);
        Ok(())
    }
}
