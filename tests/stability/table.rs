//! The table `runs.json`: what each stored spec gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn stored(path: &str) -> PathBuf {
    root().join("tests/fixtures/stability").join(path)
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Vector instructions that products, norms and activations choose their code by.
pub(crate) fn instructions() -> Vec<String> {
    let mut found = vec![std::env::consts::ARCH.to_owned()];
    #[cfg(target_arch = "x86_64")]
    for (name, is_there) in [
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512cd", is_x86_feature_detected!("avx512cd")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
    ] {
        if is_there {
            found.push(name.to_owned());
        }
    }
    found
}

/// One run of the table `runs.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// As a user may write it: most fields have their defaults.
    pub(crate) spec: Value,
    pub(crate) expected: Expected,
}

/// What a run of a spec gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected {
    pub(crate) run: String,
    pub(crate) counts: Counts,
    /// BLAKE3 of theta's tensors before the first step.
    pub(crate) initial: String,
    /// The same of the theta file that the run leaves.
    pub(crate) theta: String,
    pub(crate) losses: Vec<f64>,
    /// Score and loss of each evaluation.
    pub(crate) evaluations: Vec<[f64; 2]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) landscape: Vec<f64>,
    /// The run that is initialised from the theta file.
    pub(crate) continued: String,
    /// BLAKE3 of the merged model's tensors; none where theta cannot be merged.
    pub(crate) merged: Option<String>,
    /// BLAKE3 of the files of the peft adapter; none where peft cannot hold theta.
    pub(crate) peft: Option<BTreeMap<String, String>>,
    /// BLAKE3 of theta's tensors after the import of that adapter.
    pub(crate) imported: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) requested: u64,
    pub(crate) trainable: u64,
    pub(crate) head: u64,
    pub(crate) weights: u64,
    pub(crate) candidates: u64,
    pub(crate) positions_hash: String,
}

/// A run that was killed between two checkpoints, and what it gives when it is resumed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Interrupted {
    pub(crate) spec: Value,
    pub(crate) run: String,
    /// Steps of the checkpoint.
    pub(crate) step: usize,
    pub(crate) theta: String,
    pub(crate) losses: Vec<f64>,
}

/// The table `runs.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) commit: String,
    pub(crate) instructions: Vec<String>,
    pub(crate) runs: Vec<Case>,
    pub(crate) interrupted: Vec<Interrupted>,
}

impl Table {
    pub(crate) fn read() -> Self {
        let table: Self = read_json(&stored("runs.json"));
        if !table.is_exact() {
            eprintln!(
                "fixtures of {:?}, this processor has {:?}: losses are compared within 1e-5",
                table.instructions,
                instructions()
            );
        }
        table
    }

    /// Whether this processor gives the stored numbers to the last bit.
    pub(crate) fn is_exact(&self) -> bool {
        self.instructions == instructions()
    }
}

/// Compares numbers: to the last bit, or within a relative 1e-5.
pub(crate) fn assert_same(what: &str, found: &[f64], stored: &[f64], exact: bool) {
    assert_eq!(found.len(), stored.len(), "{what}");
    for (at, (found, stored)) in found.iter().zip(stored).enumerate() {
        let near = (found - stored).abs() <= 1e-5 * stored.abs();
        let is_same = if exact { found == stored } else { near };
        assert!(is_same, "{what} {at}: found {found}, stored {stored}");
    }
}
