//! `apet bench`: what a step takes, on random tokens.

use std::time::Instant;

use anyhow::{Context, Result};
use apet_plm::{Encoded, Plm, PlmFiles, Random};
use apet_record::{RunSpec, Stream};
use apet_train::Trainer;
use burn::Tensor;
use futures_lite::future::block_on;
use indicatif::HumanBytes;
use serde_json::json;

use crate::{
    device, memory, model,
    models::{config_of, outline},
    run::Settings,
    store::Store,
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Model in the store, a known one, or a directory; random weights where it has none
    #[arg(long, value_name = "NAME|DIR")]
    model: String,
    /// cpu, wgpu, vulkan:N, metal:N or dx12:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Steps before the measured ones, the first with its compilation of kernels
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup: usize,
    #[command(flatten)]
    settings: Settings,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Classes of the random rows.
const CLASSES: usize = 2;
/// A tokenizer for models whose own is not there: the rows are token ids.
const NO_TOKENIZER: &str =
    r#"{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}"#;

/// Milliseconds of the same work, done several times.
struct Times(Vec<f64>);

impl Times {
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        }
    }

    fn ends(&self) -> (f64, f64) {
        let all = self.0.iter().copied();
        (
            all.clone().fold(f64::INFINITY, f64::min),
            all.fold(0.0, f64::max),
        )
    }

    fn json(&self) -> serde_json::Value {
        let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
        let (least, most) = self.ends();
        let all: Vec<f64> = self.0.iter().copied().map(round).collect();
        json!({ "median": round(self.median()), "min": round(least), "max": round(most), "all": all })
    }
}

/// Measures a forward pass, a gradient and a whole step in turn, and prints what they took.
///
/// # Errors
/// When the model or the device is not there, or the spec does not fit them.
pub(crate) fn bench(store: &Store, args: &BenchArgs) -> Result<()> {
    let mut spec = RunSpec::new(&args.model, "random");
    spec.train.steps = 10;
    args.settings.change(&mut spec)?;
    let opened = device::open(&args.device)?;
    let base = memory::watch();
    let (plm, random) = load(store, &args.model, &spec, &opened)?;
    let mut trainer = Trainer::on(&plm, &spec, CLASSES, rows(&plm, &spec))?;
    let batch: Vec<usize> = (0..spec.train.batch_size).collect();
    let rate = spec.optimizer.learning_rate;

    // A read of the loss waits for the device.
    let begun = Instant::now();
    let mut losses = vec![number(
        trainer.step(std::slice::from_ref(&batch), rate)?.loss,
    )?];
    let first = begun.elapsed().as_secs_f64() * 1000.0;
    for _ in 1..args.warmup {
        losses.push(number(
            trainer.step(std::slice::from_ref(&batch), rate)?.loss,
        )?);
    }
    let held = memory::watch();
    let [mut forward, mut gradient, mut step] = [(); 3].map(|()| Times(Vec::new()));
    let mut peak = 0;
    for _ in 0..spec.train.steps {
        let begun = Instant::now();
        number(trainer.forward(&batch)?)?;
        forward.0.push(begun.elapsed().as_secs_f64() * 1000.0);
        let begun = Instant::now();
        let (gradients, _) = trainer.gradient(std::slice::from_ref(&batch))?;
        number(gradients.slice(0..1))?;
        gradient.0.push(begun.elapsed().as_secs_f64() * 1000.0);
        memory::watch();
        let begun = Instant::now();
        losses.push(number(
            trainer.step(std::slice::from_ref(&batch), rate)?.loss,
        )?);
        step.0.push(begun.elapsed().as_secs_f64() * 1000.0);
        peak = peak.max(memory::peak());
    }

    let theta = trainer.theta().info();
    let tokens = spec.train.batch_size * spec.task.max_length;
    if args.json {
        let value = json!({
            "model": plm.info().name, "random_weights": random, "parameters": plm.info().parameters,
            "spec": spec, "theta": theta, "device": opened.info,
            "rows": spec.train.batch_size, "length": spec.task.max_length,
            "first_step_ms": first, "forward_ms": forward.json(),
            "gradient_ms": gradient.json(), "step_ms": step.json(), "losses": losses,
            "held_bytes": held.saturating_sub(base), "peak_bytes": peak.saturating_sub(base),
        });
        println!("{value}");
        return Ok(());
    }
    println!(
        "{}{}, {} x {} tokens, {}: {} tuned; {}",
        plm.info().name,
        if random { " (random weights)" } else { "" },
        spec.train.batch_size,
        spec.task.max_length,
        theta.method,
        theta.realised,
        opened.info.adapter
    );
    println!("{:<10} {first:9.1} ms", "first step");
    for (what, times) in [
        ("forward", &forward),
        ("gradient", &gradient),
        ("step", &step),
    ] {
        let (least, most) = times.ends();
        println!(
            "{what:<10} {:9.1} ms ({least:.1} to {most:.1})",
            times.median()
        );
    }
    println!(
        "{:<10} {:9.0} a second",
        "tokens",
        tokens as f64 / step.median() * 1000.0
    );
    println!(
        "{:<10} {}, at most {} in a step (of the process, without a GPU's own)",
        "memory",
        HumanBytes(held.saturating_sub(base)),
        HumanBytes(peak.saturating_sub(base))
    );
    println!(
        "{:<10} {:9.4} to {:.4}",
        "loss",
        losses[0],
        losses[losses.len() - 1]
    );
    Ok(())
}

/// The model, with random weights where it has none; whether they are random.
fn load(store: &Store, name: &str, spec: &RunSpec, opened: &device::Opened) -> Result<(Plm, bool)> {
    if let Ok(folder) = model::find(store, name)
        && model::weights(&folder, name).is_ok()
    {
        return Ok((model::load(store, name, spec.dtype, opened)?, false));
    }
    opened.keeps(spec.dtype)?;
    let weights = Random::of(&outline(store, name)?, spec.dtype);
    let files = PlmFiles {
        name,
        config: &config_of(store, name)?,
        tokenizer: NO_TOKENIZER.as_bytes(),
        weights: &weights,
    };
    Ok((Plm::load(files, spec.dtype, &opened.device)?, true))
}

/// Rows of random tokens, as long as the spec has them, in turn of each class.
fn rows(plm: &Plm, spec: &RunSpec) -> Vec<(Encoded, usize)> {
    let mut stream = Stream::new("bench", spec.seeds.batches);
    let vocabulary = plm.outline().config.vocabulary() as u64;
    let mut row = |at: usize| {
        let ids = std::iter::repeat_with(|| stream.below(vocabulary) as u32);
        let encoded = Encoded {
            ids: ids.take(spec.task.max_length).collect(),
            types: vec![0; spec.task.max_length],
        };
        (encoded, at % CLASSES)
    };
    (0..spec.train.batch_size).map(&mut row).collect()
}

fn number(tensor: Tensor<1>) -> Result<f32> {
    let data = block_on(tensor.into_data_async())?;
    let numbers = data.try_to_vec::<f32>().ok();
    numbers
        .and_then(|numbers| numbers.first().copied())
        .context("the device gave no number")
}
