//! Stored run ids: every run that was recorded, and every run that a study plans, keeps its id. Stored records are
//! read whole.
//!
//! `tests/fixtures/stability/studies.json` holds a hash of the run ids of each study file.
//! `APET_WRITE_STABILITY=1` overwrites it, which breaks this promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use apet_record::{RunRecord, RunSpec, content_id};
use apet_study::{Grid, Plan};
use serde::{Deserialize, Serialize};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files with an extension below a folder, as paths relative to the repository.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path, extension));
        } else if Path::new(&path).extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The run ids that a study file stands for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Snapshot {
    runs: usize,
    /// Hash of the sorted run ids, where all learning rates do equally well on dev.
    first_rate: String,
    /// The same where the last learning rate of each method does best.
    last_rate: String,
}

fn snapshot(file: &str) -> Snapshot {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let plan = Grid::parse(&text).and_then(Plan::new);
    let plan = plan.unwrap_or_else(|e| panic!("{file}: {e}"));
    let hash = |dev: &dyn Fn(usize) -> Option<f64>| {
        let ids = (0..plan.len()).map(|run| plan.spec(run, dev).unwrap().id());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        content_id(&ids).unwrap()
    };
    Snapshot {
        runs: plan.len(),
        first_rate: hash(&|_| Some(0.0)),
        last_rate: hash(&|run| Some(run as f64)),
    }
}

#[test]
fn planned_runs_keep_their_ids() {
    let studies = files("studies", "toml").into_iter();
    let studies = studies.chain(files("docs/studies", "toml"));
    // The other files there are recipes of `apet pretrain`.
    let text = |file: &String| fs::read_to_string(root().join(file)).unwrap();
    let studies = studies.filter(|file| text(file).contains("[[method]]"));
    let found: BTreeMap<String, Snapshot> = studies.map(|f| (f.clone(), snapshot(&f))).collect();
    let path = root().join("tests/fixtures/stability/studies.json");
    if std::env::var_os("APET_WRITE_STABILITY").is_some() {
        let text = serde_json::to_string_pretty(&found).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let stored = fs::read_to_string(path).unwrap();
    let stored: BTreeMap<String, Snapshot> = serde_json::from_str(&stored).unwrap();
    assert!(stored.len() >= 11, "only {} studies", stored.len());
    for (file, stored) in &stored {
        assert_eq!(found.get(file), Some(stored), "{file}");
    }
}

#[test]
fn recorded_runs_keep_their_ids() {
    let mut rows = 0;
    for file in files("docs/studies", "csv") {
        let mut table = csv::Reader::from_path(root().join(&file)).unwrap();
        let headers = table.headers().unwrap().clone();
        let column = |name: &str| headers.iter().position(|h| h == name).unwrap();
        let (run, spec) = (column("run"), column("spec"));
        for row in table.records() {
            let row = row.unwrap();
            let spec = RunSpec::from_json(&row[spec]);
            let spec = spec.unwrap_or_else(|e| panic!("{file}: {}: {e}", &row[run]));
            assert_eq!(spec.id(), row[run], "{file}");
            rows += 1;
        }
    }
    assert!(rows >= 879, "only {rows} recorded runs");
}

#[test]
fn stored_records_are_read() {
    let stored = files("tests/fixtures/stability", "jsonl");
    assert!(stored.len() >= 64, "only {} records", stored.len());
    for file in stored {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let records = RunRecord::parse(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(records.len(), 1, "{file}");
        let header = &records[0].header;
        assert!(file.contains(&header.run), "{file}: {}", header.run);
        assert_eq!(header.spec.id(), header.run, "{file}");
        let line = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let lines = text.lines().filter_map(line);
        let steps = lines.filter(|line| line["kind"] == "step");
        let stored: BTreeMap<u64, f64> = steps
            .map(|s| (s["step"].as_u64().unwrap(), s["loss"].as_f64().unwrap()))
            .collect();
        let found = records[0].steps();
        let found = found.iter().map(|s| (s.step as u64, s.loss)).collect();
        assert_eq!(stored, found, "{file}");
    }
}
