//! `source.json` of a model: where each of its files came from, and what it must be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::store::{self, write_atomic};

/// Where each file of a model came from, and what it must be: `source.json`.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    files: BTreeMap<String, Entry>,
}

/// A file as it was stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    origin: String,
    sha256: String,
}

impl Manifest {
    const FILE: &str = "source.json";

    /// The manifest of the model in a folder; empty if the folder has none.
    pub(crate) fn read(model: &Path) -> Self {
        // A manifest that cannot be read says nothing: the files are fetched again.
        let text = fs::read(model.join(Self::FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whether the file came from `origin`, a prefix of what is recorded.
    pub(crate) fn is_file_from(&self, file: &str, origin: &str) -> bool {
        let entry = self.files.get(file);
        entry.is_some_and(|entry| entry.origin.starts_with(origin))
    }

    fn write(&self, model: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        write_atomic(&model.join(Self::FILE), |out| Ok(writeln!(out, "{text}")?))
    }

    /// Whether the file was stored with this hash; it may have changed since.
    pub(crate) fn names(&self, file: &str, sha256: &str) -> bool {
        let entry = self.files.get(file);
        entry.is_some_and(|entry| entry.sha256 == sha256)
    }

    /// Whether the file is there as it was stored.
    pub(crate) fn holds(&self, model: &Path, file: &str) -> bool {
        self.files.get(file).is_some_and(|entry| {
            store::sha256(&model.join(file)).is_ok_and(|hash| hash == entry.sha256)
        })
    }

    /// Whether all files came from the hub's repository `id` (`ORG/REPO`), at any revision.
    pub(crate) fn is_from(&self, id: &str) -> bool {
        let [of, at] = ["/", "@"].map(|next| format!("hub:{id}{next}"));
        let mut origins = self.files.values().map(|entry| &entry.origin);
        !self.files.is_empty() && origins.all(|from| from.starts_with(&of) || from.starts_with(&at))
    }

    /// Records a file that was just stored, with its hash.
    ///
    /// # Errors
    /// When the file cannot be read, or the manifest cannot be written.
    pub(crate) fn add(&mut self, model: &Path, file: &str, origin: &str) -> Result<()> {
        let entry = Entry {
            origin: origin.into(),
            sha256: store::sha256(&model.join(file))?,
        };
        self.files.insert(file.into(), entry);
        self.write(model)
    }
}
