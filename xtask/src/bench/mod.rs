//! `cargo xtask bench`: steps of `apet` compared with transformers and peft, and steps in Chromium compared with
//! jax-js and TensorFlow.js. The sides alternate in one run on one machine, so that a disturbance affects
//! both.

mod browser;
mod page;
mod scale;
mod studies;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::build::{apet, everything};
use crate::lab::fetch;
use crate::peers::environment;
use crate::step::{command, output, root, step, target};

/// A model, the number of rows and their length.
struct Shape {
    name: &'static str,
    /// Directory of the model, in the store or the fixtures.
    model: &'static str,
    rows: &'static str,
    length: &'static str,
    steps: &'static str,
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "MiniLM-L6, 16 x 128",
        model: "minilm-l6",
        rows: "16",
        length: "128",
        steps: "8",
    },
    Shape {
        name: "2 layers of width 128, 8 x 64",
        model: "s1",
        rows: "8",
        length: "64",
        steps: "30",
    },
];

/// A method: its name, the options of `apet bench`, and the peers' method.
const METHODS: [(&str, &[&str], &str); 4] = [
    ("everything", &["--method", "full"], "full"),
    ("LoRA", &["--method", "lora"], "lora"),
    ("BitFit", &["--method", "bitfit"], "bitfit"),
    (
        "APET 10,000 / SHIRA",
        &["--method", "apet", "--count", "10000"],
        "shira",
    ),
];

/// One side's medians of each round, and the times of all its steps.
#[derive(Default)]
struct Side {
    medians: Vec<f64>,
    all: Vec<f64>,
    trainable_parameters: u64,
}

impl Side {
    fn add(&mut self, result: &Value) -> Result<()> {
        let times = &result["step_ms"];
        let all = times.get("all").unwrap_or(times);
        let all = all.as_array().context("no times of steps")?;
        let all: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
        self.medians.push(median(&all));
        self.all.extend(all);
        let trainable_parameters = result["theta"]
            .get("trainable_parameters")
            .unwrap_or(&result["trainable_parameters"]);
        self.trainable_parameters = trainable_parameters.as_u64().unwrap_or_default();
        let losses = result["losses"].as_array().context("no losses")?;
        let ends = [losses.first(), losses.last()].map(|loss| loss.and_then(Value::as_f64));
        let [Some(first), Some(last)] = ends else {
            anyhow::bail!("a loss is NaN");
        };
        ensure!(last < first, "the loss did not fall: {first} to {last}");
        Ok(())
    }

    /// The median of the rounds' medians, and the range of all steps.
    fn shown(&self) -> String {
        let [least, most] = range(&self.all);
        format!("{:.1} ({least:.1} to {most:.1})", median(&self.medians))
    }
}

/// The median; for an even number of times, the mean of the middle two.
fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    let last = sorted.len().saturating_sub(1);
    f64::midpoint(at(last / 2), at(last.div_ceil(2)))
}

/// The minimum and the maximum.
fn range(times: &[f64]) -> [f64; 2] {
    let all = times.iter().copied();
    [
        all.clone().fold(f64::INFINITY, f64::min),
        all.fold(0.0, f64::max),
    ]
}

/// The benchmarks to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Benchmark {
    Everywhere,
    Native,
    Browser,
    Scale,
    Studies,
    Page,
}

/// Measures, prints tables, and adds all figures to the history in the target directory.
///
/// # Errors
/// If a requirement is missing, or a loss does not fall.
pub(crate) fn bench(rounds: usize, benchmark: Benchmark) -> Result<()> {
    everything()?;
    let mut kept = Vec::new();
    let asked = |one: Benchmark| benchmark == one || benchmark == Benchmark::Everywhere;
    if asked(Benchmark::Native) {
        kept.extend(native(rounds)?);
    }
    if asked(Benchmark::Browser) {
        kept.extend(browser::browser(rounds)?);
    }
    if asked(Benchmark::Scale) {
        kept.extend(scale::scale()?);
    }
    if asked(Benchmark::Studies) {
        kept.extend(studies::studies()?);
    }
    if asked(Benchmark::Page) {
        kept.extend(page::page(rounds)?);
    }
    keep(&target()?.join("bench.jsonl"), kept)
}

/// Measures every shape and method, prints a table, and returns all figures.
fn native(rounds: usize) -> Result<Vec<Value>> {
    let python = step("Python with transformers and peft", environment)?;
    let store = target()?.join("test-store");
    step("the model", || fetch(&["minilm-l6"], store.as_os_str()))?;
    let models = |name: &str| match name {
        "s1" => root().join("tests/fixtures/s1"),
        _ => store.join("models").join(name),
    };
    let (mut table, mut kept) = (Vec::new(), Vec::new());
    for shape in &SHAPES {
        let model = models(shape.model);
        for (name, options, peer) in METHODS {
            let [mut ours, mut theirs] = [(); 2].map(|()| Side::default());
            step(&format!("{}: {name}", shape.name), || {
                for _ in 0..rounds {
                    let mut bench = command(apet()?, ["bench", "--json", "--model"])?;
                    bench.arg(&model).args(options);
                    let found = measured(sized(bench, shape))?;
                    ours.add(&found)?;
                    kept.push(json!({ "shape": shape.name, "method": name, "apet": found }));
                    let mut bench = command(&python, [root().join("tests/peers/bench.py")])?;
                    bench.args(["--method", peer, "--model"]).arg(&model);
                    let found = measured(sized(bench, shape))?;
                    theirs.add(&found)?;
                    kept.push(json!({ "shape": shape.name, "method": peer, "peer": found }));
                }
                Ok(())
            })?;
            let ratios: Vec<f64> = ours
                .medians
                .iter()
                .zip(&theirs.medians)
                .map(|(ours, theirs)| ours / theirs)
                .collect();
            let [least, most] = range(&ratios);
            let [a, b] = [&ours, &theirs].map(Side::shown);
            let ratio = median(&ours.medians) / median(&theirs.medians);
            table.push(format!(
                "| {} | {name} | {} | {a} | {} | {b} | {ratio:.2} ({least:.2} to {most:.2}) |",
                shape.name, ours.trainable_parameters, theirs.trainable_parameters
            ));
        }
    }
    println!(
        "| model and rows | trainable | scalars | APET Lab, ms | scalars | transformers + peft, ms | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!("{}", table.join("\n"));
    Ok(kept)
}

fn sized(mut command: std::process::Command, shape: &Shape) -> std::process::Command {
    command.args([
        "--batch",
        shape.rows,
        "--seq",
        shape.length,
        "--steps",
        shape.steps,
    ]);
    command
}

/// The JSON line that a measurement prints.
fn measured(mut command: std::process::Command) -> Result<Value> {
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(
        output.status.success(),
        "{:?} exited with {}",
        command.get_program(),
        output.status
    );
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().context("it printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

/// Appends figures to the history, each with the time and the commit.
fn keep(path: &Path, found: Vec<Value>) -> Result<()> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let commit = output("git", &["describe", "--always", "--dirty"]);
    let mut history = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())?;
    for figures in found {
        let line = json!({ "unix": seconds.as_secs(), "commit": commit, "found": figures });
        writeln!(history, "{line}")?;
    }
    println!("all figures: {}", path.display());
    Ok(())
}
