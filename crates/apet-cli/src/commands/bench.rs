//! `apet bench`: a step's time and memory, on random tokens.

use std::time::Instant;

use anyhow::Result;
use apet_plm::{Plm, PlmFiles, Random};
use apet_record::RunSpec;
use apet_store::{Store, weights};
use apet_train::{NoWorkers, Part, Trainer, measure, random_rows};
use futures_lite::future::block_on;
use indicatif::HumanBytes;
use serde_json::json;

use crate::runner::architecture::{architecture, config_of};
use crate::runner::settings::Settings;
use crate::runner::{device, memory, model};

/// Options of `apet bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Measure this model: in the store, known by name, or a directory; missing weights are random
    #[arg(long, value_name = "NAME|DIR")]
    model: String,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Run N steps before measuring; the first compiles the kernels
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

/// Median, least and most.
struct Times {
    median: f64,
    least: f64,
    most: f64,
}

impl Times {
    fn from_samples(all: &[f64]) -> Self {
        let mut sorted = all.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            least: at(0),
            most: at(last),
        }
    }

    fn json(all: &[f64]) -> serde_json::Value {
        let Self {
            median,
            least,
            most,
        } = Self::from_samples(all);
        json!({ "median": median, "min": least, "max": most, "all": all })
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
    let rows = random_rows(&plm, &spec, CLASSES);
    let mut trainer = Trainer::on(&plm, &spec, CLASSES, rows)?;
    let clock = Instant::now();
    let now = || clock.elapsed().as_secs_f64() * 1000.0;
    let (mut held, mut peak) = (0, 0);
    let done = |part| match part {
        Part::Step => peak = peak.max(memory::peak()),
        _ => held = memory::watch(),
    };
    let measured = block_on(measure(
        &mut trainer,
        &mut NoWorkers,
        args.warmup,
        now,
        done,
    ))?;

    let theta = trainer.theta().info();
    let tokens = spec.train.batch_size * spec.task.max_length;
    // Of its allocator, which gives nothing back: the most that there was.
    let reserved = opened
        .device
        .memory_pool_usage()
        .map(|used| used.bytes_reserved);
    if args.json {
        let value = json!({
            "model": plm.info().name, "random_weights": random, "parameters": plm.info().parameters,
            "spec": spec, "theta": theta, "device": opened.info,
            "rows": spec.train.batch_size, "length": spec.task.max_length,
            "first_step_ms": measured.first_step_ms,
            "forward_ms": Times::json(&measured.forward_ms),
            "gradient_ms": Times::json(&measured.gradient_ms),
            "step_ms": Times::json(&measured.step_ms), "losses": measured.losses,
            "held_bytes": held.saturating_sub(base), "peak_bytes": peak.saturating_sub(base),
            "gpu_bytes": reserved,
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
        theta.trainable_parameters,
        opened.info.adapter
    );
    println!("{:<10} {:9.1} ms", "first step", measured.first_step_ms);
    for (what, all) in [
        ("forward", &measured.forward_ms),
        ("gradient", &measured.gradient_ms),
        ("step", &measured.step_ms),
    ] {
        let Times {
            median,
            least,
            most,
        } = Times::from_samples(all);
        println!("{what:<10} {median:9.1} ms ({least:.1} to {most:.1})");
    }
    println!(
        "{:<10} {:9.0} a second",
        "tokens",
        tokens as f64 / Times::from_samples(&measured.step_ms).median * 1000.0
    );
    println!(
        "{:<10} {}, at most {} in a step (of the process){}",
        "memory",
        HumanBytes(held.saturating_sub(base)),
        HumanBytes(peak.saturating_sub(base)),
        reserved.map_or_else(String::new, |bytes| format!(
            "; {} reserved on the GPU",
            HumanBytes(bytes)
        ))
    );
    if let [first, .., last] = measured.losses[..] {
        println!("{:<10} {first:9.4} to {last:.4}", "loss");
    }
    Ok(())
}

/// The model, with random weights where it has none; whether they are random.
fn load(store: &Store, name: &str, spec: &RunSpec, opened: &device::Opened) -> Result<(Plm, bool)> {
    if let Ok(folder) = weights::find(store, name)
        && weights::weights(&folder, name).is_ok()
    {
        return Ok((model::load(store, name, spec.dtype, opened)?, false));
    }
    opened.keeps(spec.dtype)?;
    let random = Random::new(&architecture(store, name)?, spec.dtype);
    let files = PlmFiles {
        name,
        config: &config_of(store, name)?,
        tokenizer: NO_TOKENIZER.as_bytes(),
        weights: &random,
    };
    Ok((Plm::load(files, spec.dtype, &opened.device)?, true))
}
