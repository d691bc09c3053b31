//! A study on a file system: a folder that any number of workers, on any number of machines, fill with records.
//!
//! ```text
//! study.toml             the grid
//! plan.json              what it stands for, and where its tasks are
//! runs/ID.jsonl          the record of a run that is done
//! thetas/ID.safetensors  its theta
//! failed/ID.json         why a run could not be made
//! work/ID/lease          who is making it
//! work/ID/WORKER/        what that worker has of it
//! logs/                  a scheduler's scripts, and what workers said there
//! ```
//! ID is that of the spec, so a run that is done stays done when the grid grows. No file is written by two workers:
//! each has a folder of its own, and the record of the one that ends first is linked into its place.

mod collect;
mod curves;
mod parquet;
mod plan;
mod status;
mod submit;
mod tensorboard;
mod trackio;
mod work;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apet_record::RunSpec;
use apet_study::{Grid, Plan};
use serde::{Deserialize, Serialize};

pub(crate) use collect::{CollectArgs, ReportArgs, collect, report};
pub(crate) use plan::{PlanArgs, plan};
pub(crate) use status::{GcArgs, RetryArgs, StatusArgs, gc, retry, status};
pub(crate) use submit::{SubmitArgs, submit};
pub(crate) use work::{WorkArgs, work};

/// Version of `plan.json`.
const VERSION: u32 = 1;

/// `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    version: u32,
    /// The study's name.
    name: String,
    /// BLAKE3 of study.toml.
    study: String,
    /// Runs in all.
    runs: usize,
    /// The folder whose folders are tasks, where there is one.
    data: Option<PathBuf>,
    /// Of each cell of the grid.
    cells: Vec<Cost>,
}

/// What a run of a cell takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cost {
    /// Parameters that are tuned, the head not counted.
    tuned: u64,
    /// The most bytes held at once.
    bytes: u64,
    /// Floating point operations, at most.
    operations: f64,
}

/// A planned study.
pub(crate) struct Folder {
    root: PathBuf,
    plan: Plan,
    about: About,
    /// Dev scores of tuning runs that are done.
    scores: RefCell<HashMap<usize, f64>>,
}

/// Why a run failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failure {
    run: usize,
    error: String,
    host: String,
    at: String,
}

impl Folder {
    /// Opens a study that was planned.
    ///
    /// # Errors
    /// When there is none, or its files do not belong together.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let path = root.join("plan.json");
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => bail!(
                "{}: found no plan.json, expected the folder of a study; apet plan STUDY.toml -o {0} makes one",
                root.display()
            ),
            text => text.with_context(|| path.display().to_string())?,
        };
        let about: About =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(
            about.version == VERSION,
            "{}: found version {}, expected {VERSION}; plan the study again",
            path.display(),
            about.version
        );
        let file = root.join("study.toml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        ensure!(
            hash(&text) == about.study,
            "{}: was changed since it was planned; apet plan {0} -o {} plans it again, and keeps the runs that stay in it",
            file.display(),
            root.display()
        );
        let plan = Grid::parse(&text).and_then(Plan::new);
        Ok(Self {
            root: root.to_owned(),
            plan: plan.with_context(|| file.display().to_string())?,
            about,
            scores: RefCell::default(),
        })
    }

    fn record(&self, id: &str) -> PathBuf {
        self.root.join("runs").join(format!("{id}.jsonl"))
    }

    fn theta(&self, id: &str) -> PathBuf {
        self.root.join("thetas").join(format!("{id}.safetensors"))
    }

    fn failure(&self, id: &str) -> PathBuf {
        self.root.join("failed").join(format!("{id}.json"))
    }

    fn work(&self, id: &str) -> PathBuf {
        self.root.join("work").join(id)
    }

    /// The spec of a run; none where those that choose its learning rate are not done.
    fn spec(&self, run: usize) -> Option<RunSpec> {
        self.plan.spec(run, &|run| self.dev(run)).ok()
    }

    /// Which runs a run waits for, and which of them are not done.
    fn waits_for(&self, run: usize) -> Vec<usize> {
        let runs = match self.plan.spec(run, &|run| self.dev(run)) {
            Ok(_) => 0..0,
            Err(runs) => runs,
        };
        runs.filter(|&run| self.dev(run).is_none()).collect()
    }

    /// The dev score of a tuning run that is done; negative infinity where it has none.
    fn dev(&self, run: usize) -> Option<f64> {
        if let Some(score) = self.scores.borrow().get(&run) {
            return Some(*score);
        }
        let id = self.plan.spec(run, &|_| None).ok()?.id();
        let text = fs::read_to_string(self.record(&id)).ok()?;
        let record = apet_record::RunRecord::parse_without_steps(&text)
            .ok()?
            .pop()?;
        let score = record.summary()?.dev.unwrap_or(f64::NEG_INFINITY);
        self.scores.borrow_mut().insert(run, score);
        Some(score)
    }
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// This machine's name.
fn host() -> String {
    sysinfo::System::host_name().unwrap_or_default()
}

/// A name's letters and digits.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}
