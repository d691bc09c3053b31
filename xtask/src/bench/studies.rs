//! `apet status`, `apet collect` and `apet report` on a study of 100,000 records: one real run of each cell,
//! copied under other seeds with other scores.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use apet_record::Stream;
use apet_study::{Grid, Plan};
use serde_json::{Value, json};

use crate::build::apet;
use crate::step::{command, run, step, target};

/// Runs of each of the grid's 25 cells.
const SEEDS: u64 = 4_000;

/// Repetitions of each command.
const ROUNDS: usize = 3;

fn grid() -> String {
    let seeds: Vec<String> = (1..=SEEDS).map(|seed| seed.to_string()).collect();
    let seeds = seeds.join(", ");
    format!(
        r#"name = "many"
about = "Generated: only the first run of each cell is real."
models = ["ladder-nano"]
seeds = [{seeds}]
train = {{ steps = 30, batch_size = 4, eval_every = 10 }}
[[task]]
name = "sentences"
max_length = 32
dev_rows = 50
test_rows = 50
[[method]]
name = "full"
learning_rate = 1e-2
[[method]]
name = "head"
learning_rate = 1e-2
[[method]]
name = "lora"
learning_rate = 1e-2
[[method]]
name = "bitfit"
learning_rate = 1e-2
[[method]]
name = "prompt"
tokens = 20
learning_rate = 1e-2
[[method]]
name = "apet"
learning_rate = 1e-2
counts = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 30000, 40000, 50000, 60000, 70000, 80000]
"#
    )
}

/// Creates the study, measures, and returns all figures.
///
/// # Errors
/// If a requirement is missing, or a command fails.
pub(super) fn studies() -> Result<Vec<Value>> {
    let store = target()?.join("test-store");
    let place = target()?.join("bench-study");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
    }
    let folder = place.join("study");
    let apet = |words: &[&str]| {
        let mut apet = command(apet()?, words)?;
        apet.env("APET_HOME", &store).current_dir(&place);
        anyhow::Ok(apet)
    };
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    fs::write(place.join("many.toml"), grid())?;
    let plan = Plan::new(Grid::parse(&grid())?)?;
    let cells = plan.cells().len();
    step("the study", || {
        run(apet(&["plan", "many.toml", "-o", "study"])?)?;
        for cell in 0..cells {
            run(apet(&[
                "run",
                "--study",
                "study",
                "--index",
                &cell.to_string(),
            ])?)?;
        }
        multiply(&plan, &folder.join("runs"))
    })?;
    let sizes = fs::read_dir(folder.join("runs"))?.map(|file| Ok(file?.metadata()?.len()));
    let bytes: u64 = sizes.sum::<Result<u64>>()?;
    println!("{} records, {} MB", plan.len(), bytes / 1_000_000);
    println!("| command | s | peak, MB |\n|---|---|---|");
    let commands: [&[&str]; 5] = [
        &["status", "study"],
        &["collect", "study", "-o", "runs.parquet"],
        &["collect", "study", "-o", "runs.csv"],
        &["report", "study", "-o", "report.md"],
        &["report", "study", "-o", "report.html"],
    ];
    let mut kept = Vec::new();
    for words in commands {
        let mut found = Vec::new();
        for _ in 0..ROUNDS {
            found.push(watched(apet(words)?)?);
        }
        let seconds: Vec<f64> = found.iter().map(|one| one.0).collect();
        let peak = found.iter().map(|one| one.1).max().unwrap_or_default();
        let [least, most] = super::range(&seconds);
        let (name, middle) = (words.join(" "), super::median(&seconds));
        println!(
            "| apet {name} | {middle:.2} ({least:.2} to {most:.2}) | {} |",
            peak / 1_000_000
        );
        kept.push(
            json!({ "studies": name, "runs": plan.len(), "seconds": seconds, "peak_bytes": peak }),
        );
    }
    fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
    Ok(kept)
}

/// Copies the record of each cell's first run to its other runs, with their own spec and another score.
fn multiply(plan: &Plan, runs: &Path) -> Result<()> {
    let cells = plan.cells().len();
    let spec = |run: usize| {
        let spec = plan.spec(run, &|_| None).ok();
        spec.with_context(|| format!("run {run} has no spec"))
    };
    let read = |cell: usize| {
        let path = runs.join(format!("{}.jsonl", spec(cell)?.id()));
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let templates: Vec<String> = (0..cells).map(read).collect::<Result<_>>()?;
    let mut stream = Stream::new("generated scores", 0);
    for number in cells..plan.len() {
        let spec = spec(number)?;
        let cell = plan.cell_number(number).context("a run without a cell")?;
        let template = templates.get(cell).context("a cell without a run")?;
        let mut text = String::with_capacity(template.len());
        for line in template.lines() {
            if !line.contains(r#""kind":"header""#) && !line.contains(r#""kind":"summary""#) {
                text.push_str(line);
            } else {
                let mut line: Value = serde_json::from_str(line)?;
                if line["kind"] == "header" {
                    line["run"] = spec.id().into();
                    line["spec"] = serde_json::to_value(&spec)?;
                } else if let Some(score) = line["test"].as_f64() {
                    line["test"] = (score + 0.02 * stream.normal()).clamp(0.0, 1.0).into();
                }
                text.push_str(&line.to_string());
            }
            text.push('\n');
        }
        fs::write(runs.join(format!("{}.jsonl", spec.id())), text)?;
    }
    Ok(())
}

/// A command's seconds and peak memory (on Linux; 0 elsewhere).
fn watched(mut command: std::process::Command) -> Result<(f64, u64)> {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let mut peak = 0;
    let status = loop {
        let about = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = about.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(1024 * kilobytes.unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    ensure!(
        status.success(),
        "{:?} exited with {status}",
        command.get_args()
    );
    Ok((begun.elapsed().as_secs_f64(), peak))
}
