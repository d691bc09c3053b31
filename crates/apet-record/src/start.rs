//! A theta that a run goes on from.

use serde::{Deserialize, Serialize};

use crate::SpecError;

/// A theta that a run begins with, instead of initial values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// What it is called, in errors.
    pub theta: String,
    /// BLAKE3 of the theta file, hexadecimal, or its beginning: `starts/HASH.safetensors` of the store.
    pub hash: String,
}

impl Start {
    /// A theta file as a beginning.
    pub fn of(name: impl Into<String>, file: &[u8]) -> Self {
        Self {
            theta: name.into(),
            hash: blake3::hash(file).to_hex()[..16].to_owned(),
        }
    }

    /// Refuses what is not the file.
    ///
    /// # Errors
    /// When its hash is another.
    pub fn check_file(&self, file: &[u8]) -> Result<(), SpecError> {
        let found = blake3::hash(file).to_hex();
        if self.hash.len() >= 8 && found.starts_with(self.hash.as_str()) {
            return Ok(());
        }
        Err(SpecError {
            field: "start.hash".into(),
            problem: format!(
                "found {:?}, {} has the hash {}",
                self.hash,
                self.theta,
                &found[..16]
            ),
        })
    }
}
