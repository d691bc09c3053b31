//! `apet plan`: the runs of a study, and the memory and time that they take, before any of them starts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use apet_record::{Apet, Method};
use apet_store::{Store, builtin, write_atomic};
use apet_study::{Grid, Plan, Stage};
use indicatif::{HumanBytes, HumanCount};

use crate::studies::cost::{costs, speed};
use crate::studies::study_dir::{PlanManifest, StudyDir, VERSION, hash};

/// Options of `apet plan`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Next: apet run --study DIR runs the study, apet submit has a scheduler run it, apet status shows its progress."
)]
pub(crate) struct PlanArgs {
    /// The study: models x tasks x methods x counts x seeds (examples: studies/)
    #[arg(value_name = "STUDY.toml")]
    study: PathBuf,
    /// Write the plan to DIR; replanning keeps the records of runs that are still in the study
    #[arg(short, long, alias = "out", value_name = "DIR")]
    output: PathBuf,
    /// Take tasks from the subdirectories of DIR before the store
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Assume a device with N x 10^12 operations a second [default: this machine's cpu, measured]
    #[arg(long, value_name = "N")]
    tflops: Option<f64>,
}

/// Plans a study.
///
/// # Errors
/// The first thing that cannot be; then nothing is written.
pub(crate) fn plan(store: &Store, args: &PlanArgs) -> Result<()> {
    let file = || args.study.display().to_string();
    let text = fs::read_to_string(&args.study).with_context(file)?;
    let plan = Grid::parse(&text).and_then(Plan::new).with_context(file)?;
    let grid = plan.grid();
    same_study(&args.output, &grid.name)?;
    let data = match &args.data {
        Some(data) => Some(fs::canonicalize(data).with_context(|| data.display().to_string())?),
        None => None,
    };
    builtin::install_builtin(store, |name| grid.uses(name))?;
    let costs = costs(store, &plan, data.as_deref())?;
    let about = PlanManifest {
        version: VERSION,
        name: grid.name.clone(),
        study: hash(&text),
        runs: plan.len(),
        data,
        cells: costs,
    };
    write_atomic(&args.output.join("study.toml"), |out| {
        Ok(out.write_all(text.as_bytes())?)
    })?;
    let json = serde_json::to_string(&about)?;
    write_atomic(&args.output.join("plan.json"), |out| {
        Ok(out.write_all(json.as_bytes())?)
    })?;
    show(&StudyDir::open(&args.output)?, speed(args.tflops)?);
    Ok(())
}

/// Refuses a folder that is another study's, or has something else in it.
fn same_study(out: &Path, name: &str) -> Result<()> {
    let path = out.join("plan.json");
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let mut files = fs::read_dir(out).into_iter().flatten().flatten();
            ensure!(
                files.next().is_none(),
                "{}: found files and no plan.json, expected an empty folder or that of this study; give -o another name",
                out.display()
            );
            return Ok(());
        }
        text => text.with_context(|| path.display().to_string())?,
    };
    let there: PlanManifest =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    ensure!(
        there.name == name,
        "{}: found the study {:?}, expected {name:?}; give -o another name",
        out.display(),
        there.name
    );
    Ok(())
}

fn show(folder: &StudyDir, speed: f64) {
    let (plan, about) = (&folder.plan, &folder.manifest);
    let mut runs = vec![[0usize; 2]; plan.cells().len()];
    for (at, stage) in [Stage::Tune, Stage::Main].into_iter().enumerate() {
        let of_stage = plan.of_stage(stage);
        for run in of_stage.clone() {
            if let Some(cell) = plan.cell_number(run) {
                runs[cell][at] += 1;
            }
        }
        if !of_stage.is_empty() {
            println!(
                "{}: {} runs, numbers {of_stage:?}",
                stage.name(),
                HumanCount(of_stage.len() as u64)
            );
        }
    }
    println!(
        "{:<14} {:<16} {:<24} {:>8} {:>6} {:>14} {:>11} {:>9}",
        "model", "task", "method", "tuning", "main", "tuned", "peak", "hours"
    );
    let (mut hours, mut most, mut tuned) = (0.0, 0, 0);
    for ((cell, cost), [tuning, main]) in plan.cells().iter().zip(&about.cells).zip(runs) {
        let all = tuning + main;
        let own = cost.operations * all as f64 / speed / 3600.0;
        hours += own;
        most = most.max(cost.bytes);
        tuned = tuned.max(cost.tuned);
        println!(
            "{:<14} {:<16} {:<24} {tuning:>8} {main:>6} {:>14} {:>11} {own:>9.2}",
            cell.model,
            plan.grid().tasks[cell.task].name,
            label(&cell.method),
            HumanCount(cost.tuned).to_string(),
            HumanBytes(cost.bytes).to_string(),
        );
    }
    println!(
        "{} runs, at most {} tuned and {} at once; {hours:.1} device hours at {:.2} x 10^12 operations a second, \
         if every row were as long as it may be",
        HumanCount(about.runs as u64),
        HumanCount(tuned),
        HumanBytes(most),
        speed / 1e12
    );
}

/// A method, with the count that was asked for.
fn label(method: &Method) -> String {
    match method {
        Method::Apet(Apet { count, .. }) => format!("{} {count}", method.label()),
        other => other.label(),
    }
}
