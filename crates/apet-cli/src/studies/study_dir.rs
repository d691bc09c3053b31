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
//! each has its own directory, and the record of the one that finishes first is linked into its place.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apet_record::RunSpec;
use apet_study::{Grid, Plan};
use serde::{Deserialize, Serialize};

/// Version of `plan.json`.
pub(crate) const VERSION: u32 = 1;

/// `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanManifest {
    pub(crate) version: u32,
    /// The study's name.
    pub(crate) name: String,
    /// BLAKE3 of study.toml.
    pub(crate) study: String,
    /// Runs in all.
    pub(crate) runs: usize,
    /// The folder whose folders are tasks, where there is one.
    pub(crate) data: Option<PathBuf>,
    /// Of each cell of the grid.
    pub(crate) cells: Vec<RunCost>,
}

/// What a run of a cell takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunCost {
    /// Parameters that are tuned, the head not counted.
    pub(crate) tuned: u64,
    /// The most bytes held at once.
    pub(crate) bytes: u64,
    /// Floating point operations, at most.
    pub(crate) operations: f64,
}

/// A planned study.
pub(crate) struct StudyDir {
    pub(crate) root: PathBuf,
    pub(crate) plan: Plan,
    pub(crate) manifest: PlanManifest,
    /// Dev scores of tuning runs that are done.
    scores: RefCell<HashMap<usize, f64>>,
}

/// Why a run failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) run: usize,
    pub(crate) error: String,
    pub(crate) host: String,
    pub(crate) at: String,
}

impl StudyDir {
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
        let manifest: PlanManifest =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(
            manifest.version == VERSION,
            "{}: found version {}, expected {VERSION}; plan the study again",
            path.display(),
            manifest.version
        );
        let file = root.join("study.toml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        ensure!(
            hash(&text) == manifest.study,
            "{}: was changed since it was planned; apet plan {0} -o {} plans it again, and keeps the runs that stay in it",
            file.display(),
            root.display()
        );
        let plan = Grid::parse(&text).and_then(Plan::new);
        Ok(Self {
            root: root.to_owned(),
            plan: plan.with_context(|| file.display().to_string())?,
            manifest,
            scores: RefCell::default(),
        })
    }

    pub(crate) fn record(&self, id: &str) -> PathBuf {
        self.root.join("runs").join(format!("{id}.jsonl"))
    }

    pub(crate) fn theta(&self, id: &str) -> PathBuf {
        self.root.join("thetas").join(format!("{id}.safetensors"))
    }

    pub(crate) fn failure(&self, id: &str) -> PathBuf {
        self.root.join("failed").join(format!("{id}.json"))
    }

    pub(crate) fn work(&self, id: &str) -> PathBuf {
        self.root.join("work").join(id)
    }

    /// The spec of a run; none where those that choose its learning rate are not done.
    pub(crate) fn spec(&self, run: usize) -> Option<RunSpec> {
        self.plan.spec(run, &|run| self.dev(run)).ok()
    }

    /// Which runs a run waits for, and which of them are not done.
    pub(crate) fn waits_for(&self, run: usize) -> Vec<usize> {
        let runs = match self.plan.spec(run, &|run| self.dev(run)) {
            Ok(_) => 0..0,
            Err(runs) => runs,
        };
        runs.filter(|&run| self.dev(run).is_none()).collect()
    }

    /// The dev score of a tuning run that is done; negative infinity where it has none.
    pub(crate) fn dev(&self, run: usize) -> Option<f64> {
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

pub(crate) fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// This machine's name.
pub(crate) fn host() -> String {
    sysinfo::System::host_name().unwrap_or_default()
}

/// A name's letters and digits.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The names in a folder, without their endings.
pub(crate) fn names(folder: &Path) -> HashSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let stem = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.split('.').next()?.to_owned())
    };
    entries.filter_map(stem).collect()
}
