//! Where a test calls the binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An empty store, and no way out of the machine.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut apet = Command::new(env!("CARGO_BIN_EXE_apet"));
        apet.args(words)
            .current_dir(self.0.path())
            .env("APET_HOME", self.path("store"))
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            .env("HTTPS_PROXY", "http://127.0.0.1:9");
        apet
    }

    /// What a command ends with.
    pub(crate) fn apet(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a command says that ends well.
    pub(crate) fn said(&self, words: &[&str]) -> String {
        let output = self.apet(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The records in a folder, sorted.
    pub(crate) fn records(&self, folder: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.path(folder)).into_iter().flatten();
        let records = files.flatten().map(|file| file.path());
        let mut records: Vec<PathBuf> = records.filter(|path| has_ending(path, "jsonl")).collect();
        records.sort();
        records
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}
