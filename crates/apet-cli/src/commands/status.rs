//! `apet status`: how far a study is, and what is in its way.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use apet_study::Stage;
use indicatif::{HumanCount, HumanDuration};
use serde::Serialize;

use crate::studies::study_dir::{Failure, StudyDir, names};

/// Options of `apet status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The study directory
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How many runs are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    done: usize,
    /// A worker has them, or had them when it ended.
    begun: usize,
    failed: usize,
    /// Nobody has begun them.
    open: usize,
    /// Those that choose their learning rate are not done.
    waiting: usize,
}

impl Counts {
    fn all(&self) -> usize {
        self.done + self.begun + self.failed + self.open + self.waiting
    }
}

/// Runs that failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cause {
    error: String,
    runs: Vec<usize>,
}

/// How far a study is.
#[derive(Clone, Debug, Default, Serialize)]
struct Status {
    name: String,
    all: Counts,
    stages: BTreeMap<&'static str, Counts>,
    /// By model and method.
    cells: Vec<(String, String, Counts)>,
    causes: Vec<Cause>,
    /// Seconds, where enough is done to tell.
    left: Option<f64>,
}

/// Prints how far a study is.
///
/// # Errors
/// When there is no study.
pub(crate) fn status(args: &StatusArgs) -> Result<()> {
    let folder = StudyDir::open(&args.study)?;
    let status = Status::read(&folder)?;
    if args.json {
        println!("{}", serde_json::to_string(&status)?);
        return Ok(());
    }
    status.show();
    Ok(())
}

impl Status {
    fn read(folder: &StudyDir) -> Result<Self> {
        let [done, failed, begun] =
            ["runs", "failed", "work"].map(|kind| names(&folder.root.join(kind)));
        let plan = &folder.plan;
        let mut status = Self {
            name: folder.manifest.name.clone(),
            ..Self::default()
        };
        let mut of_cell = vec![Counts::default(); plan.cells().len()];
        let (mut operations, mut of_done) = (0.0, 0.0);
        for stage in [Stage::Tune, Stage::Main] {
            let mut of_stage = Counts::default();
            for run in plan.of_stage(stage) {
                let id = folder.spec(run).map(|spec| spec.id());
                let cell = plan.cell_number(run).unwrap_or(0);
                let cost = folder
                    .manifest
                    .cells
                    .get(cell)
                    .map_or(0.0, |cost| cost.operations);
                operations += cost;
                let count: fn(&mut Counts) = match id {
                    None => |counts| counts.waiting += 1,
                    Some(id) if done.contains(&id) => {
                        of_done += cost;
                        |counts| counts.done += 1
                    }
                    Some(id) if failed.contains(&id) => |counts| counts.failed += 1,
                    Some(id) if begun.contains(&id) => |counts| counts.begun += 1,
                    Some(_) => |counts| counts.open += 1,
                };
                for counts in [&mut of_stage, &mut of_cell[cell], &mut status.all] {
                    count(counts);
                }
            }
            if of_stage.all() > 0 {
                status.stages.insert(stage.name(), of_stage);
            }
        }
        let mut cells: Vec<(String, String, Counts)> = Vec::new();
        for (cell, counts) in plan.cells().iter().zip(of_cell) {
            let (model, method) = (&cell.model, cell.method.name());
            match cells.iter_mut().find(|(m, k, _)| m == model && k == method) {
                Some((_, _, there)) => there.add(counts),
                None => cells.push((model.clone(), method.into(), counts)),
            }
        }
        status.cells = cells;
        status.causes = causes(&folder.root.join("failed"))?;
        status.left = elapsed(&folder.root.join("runs"))
            .filter(|_| of_done > 0.0)
            .map(|elapsed| elapsed.as_secs_f64() * (operations - of_done) / of_done);
        Ok(status)
    }

    fn show(&self) {
        println!(
            "{}: {} of {} runs done",
            self.name,
            HumanCount(self.all.done as u64),
            HumanCount(self.all.all() as u64)
        );
        println!(
            "{:<16} {:<12} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "", "", "done", "begun", "failed", "open", "waiting"
        );
        let row = |of: &str, what: &str, c: &Counts| {
            println!(
                "{of:<16} {what:<12} {:>8} {:>8} {:>8} {:>8} {:>8}",
                c.done, c.begun, c.failed, c.open, c.waiting
            );
        };
        for (stage, counts) in &self.stages {
            row("stage", stage, counts);
        }
        for (model, method, counts) in &self.cells {
            row(model, method, counts);
        }
        for cause in &self.causes {
            let first: Vec<String> = cause.runs.iter().take(5).map(usize::to_string).collect();
            let more = if cause.runs.len() > 5 { ", ..." } else { "" };
            println!(
                "failed {}: {} (runs {}{more})",
                cause.runs.len(),
                cause.error,
                first.join(", ")
            );
        }
        if !self.causes.is_empty() {
            println!("apet retry reruns them");
        }
        if let Some(left) = self.left.filter(|left| *left > 0.0) {
            println!(
                "about {} left, at the pace so far",
                HumanDuration(Duration::from_secs_f64(left))
            );
        }
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.begun += other.begun;
        self.failed += other.failed;
        self.open += other.open;
        self.waiting += other.waiting;
    }
}

/// Failures by their reason, the most frequent first.
fn causes(folder: &Path) -> Result<Vec<Cause>> {
    let mut found: HashMap<String, Vec<usize>> = HashMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let failure: Failure =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        found.entry(failure.error).or_default().push(failure.run);
    }
    let mut causes: Vec<Cause> = found
        .into_iter()
        .map(|(error, mut runs)| {
            runs.sort_unstable();
            Cause { error, runs }
        })
        .collect();
    causes.sort_by(|a, b| (b.runs.len(), &a.error).cmp(&(a.runs.len(), &b.error)));
    Ok(causes)
}

/// From the first record that was done until now.
fn elapsed(folder: &Path) -> Option<Duration> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let first = entries
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .min()?;
    SystemTime::now().duration_since(first).ok()
}
