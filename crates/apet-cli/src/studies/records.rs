//! A study's records, read by all cores; and other records, from files and folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use apet_record::{RecordError, RunRecord};
use apet_store::archive;
use apet_study::Stage;

use super::study_dir::StudyDir;

/// How records are read.
pub(crate) type Parse = fn(&str) -> Result<Vec<RunRecord>, RecordError>;

pub(crate) const WITHOUT_STEPS: Parse = RunRecord::parse_without_steps;

/// The study's records, in the order of their ids.
pub(crate) fn paths(folder: &StudyDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.root.join("runs")).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    paths.sort_unstable();
    paths
}

/// Those of the main stage: a run that chose a learning rate is no evidence of what that rate is worth.
pub(crate) fn main(folder: &StudyDir) -> Vec<PathBuf> {
    let runs = folder.plan.of_stage(Stage::Main);
    let specs = runs.filter_map(|run| folder.spec(run));
    let mut paths: Vec<PathBuf> = specs.map(|spec| folder.record(&spec.id())).collect();
    paths.retain(|path| path.exists());
    paths.sort_unstable();
    paths
}

/// The records in files, and in the files of folders.
///
/// # Errors
/// Names the file that cannot be read.
pub(crate) fn others(with: &[PathBuf]) -> Result<Vec<RunRecord>> {
    let mut files = Vec::new();
    for path in with {
        let at = || path.display().to_string();
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        for entry in fs::read_dir(path).with_context(at)? {
            let file = entry.with_context(at)?.path();
            let ending = file.extension().unwrap_or_default();
            if ending == "json" || ending == "jsonl" || ending == "zip" {
                files.push(file);
            }
        }
        ensure!(
            files.len() > before,
            "{}: found no .json, .jsonl or .zip file, expected records, or results of peft's method comparison",
            at()
        );
        files[before..].sort_unstable();
    }
    let mut all = Vec::new();
    for file in files {
        let at = || file.display().to_string();
        if file.extension().is_some_and(|ending| ending == "zip") {
            all.extend(archive::records(&file).with_context(at)?);
            continue;
        }
        let text = fs::read_to_string(&file).with_context(at)?;
        all.extend(apet_study::records(&text).with_context(at)?);
    }
    Ok(all)
}

/// Records, read by all cores, in the order of their paths.
///
/// # Errors
/// Names the one that cannot be read.
pub(crate) fn read<T: Send>(
    paths: &[PathBuf],
    parse: Parse,
    of: impl Fn(RunRecord) -> T + Sync,
) -> Result<Vec<T>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = paths.len().div_ceil(threads).max(1);
    let one = |path: &PathBuf| Ok(of(record(path, parse)?));
    let parts: Vec<Result<Vec<T>>> = thread::scope(|scope| {
        let parts = paths.chunks(share);
        let workers = parts.map(|part| scope.spawn(move || part.iter().map(one).collect()));
        let workers: Vec<_> = workers.collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|part| part.unwrap_or_else(|_| bail!("a thread ended early")))
            .collect()
    });
    let mut all = Vec::with_capacity(paths.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

fn record(path: &Path, parse: Parse) -> Result<RunRecord> {
    let at = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(at)?;
    let mut records = parse(&text).with_context(at)?;
    ensure!(
        records.len() == 1,
        "{}: found {} records, expected one",
        at(),
        records.len()
    );
    records.pop().with_context(at)
}
