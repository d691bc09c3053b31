//! `cargo xtask bench`: steps of `apet` beside those of transformers and peft, in turn in one run on one
//! machine, so that what slows one down slows the other.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::build::{apet, everything};
use crate::lab::fetch;
use crate::peers::environment;
use crate::step::{command, root, step, target};

/// A model, its rows and their length.
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

/// What is tuned: its name, the options of `apet bench`, and the method of the peers.
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

/// The medians of one side over the rounds, and all its steps.
#[derive(Default)]
struct Side {
    medians: Vec<f64>,
    all: Vec<f64>,
    realised: u64,
}

impl Side {
    fn add(&mut self, result: &Value) -> Result<()> {
        let times = &result["step_ms"];
        let median = times["median"].as_f64().context("no step_ms.median")?;
        self.medians.push(median);
        let all = times["all"].as_array().context("no step_ms.all")?;
        self.all.extend(all.iter().filter_map(Value::as_f64));
        let realised = result["theta"]
            .get("realised")
            .unwrap_or(&result["realised"]);
        self.realised = realised.as_u64().unwrap_or_default();
        let losses = result["losses"].as_array().context("no losses")?;
        let ends = [losses.first(), losses.last()].map(|loss| loss.and_then(Value::as_f64));
        let [Some(first), Some(last)] = ends else {
            anyhow::bail!("a loss is no number");
        };
        ensure!(last < first, "the loss did not fall: {first} to {last}");
        Ok(())
    }

    /// The middle of the rounds' medians, and the least and the most that a step took.
    fn summary(&self) -> [f64; 3] {
        let mut sorted = self.medians.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let all = self.all.iter().copied();
        [
            middle,
            all.clone().fold(f64::INFINITY, f64::min),
            all.fold(0.0, f64::max),
        ]
    }
}

/// Measures every shape and method, prints a table, and keeps all figures as JSON in the target directory.
///
/// # Errors
/// What is missing, or what did not learn.
pub(crate) fn bench(rounds: usize) -> Result<()> {
    everything()?;
    let python = step("Python with transformers and peft", environment)?;
    let store = target()?.join("test-store");
    step("the model", || {
        fetch(&["minilm-l6"], Some(store.as_os_str()))
    })?;
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
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            let [a, b] = [&ours, &theirs].map(|side| {
                let [middle, least, most] = side.summary();
                format!("{middle:.1} ({least:.1} to {most:.1})")
            });
            let ratio = ours.summary()[0] / theirs.summary()[0];
            table.push(format!(
                "| {} | {name} | {} | {a} | {} | {b} | {ratio:.2} ({least:.2} to {most:.2}) |",
                shape.name, ours.realised, theirs.realised
            ));
        }
    }
    println!(
        "| model and rows | tuned | scalars | APET Lab, ms | scalars | transformers + peft, ms | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!("{}", table.join("\n"));
    keep(&target()?.join("bench.json"), &kept)
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
        "{:?} ended with {}",
        command.get_program(),
        output.status
    );
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().context("it printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

fn keep(path: &Path, results: &[Value]) -> Result<()> {
    let lines: Vec<String> = results.iter().map(Value::to_string).collect();
    fs::write(path, lines.join("\n") + "\n").with_context(|| path.display().to_string())?;
    println!("all figures are in {}", path.display());
    Ok(())
}
