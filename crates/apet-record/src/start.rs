//! A theta from which a run is initialised.

use serde::{Deserialize, Serialize};

use crate::SpecError;

/// The theta from which a run is initialised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Name for errors.
    pub theta: String,
    /// BLAKE3 of the theta file in hexadecimal, or a prefix: `starts/HASH.safetensors` in the store.
    pub hash: String,
}

impl Start {
    /// A reference to a theta file.
    pub fn of(name: impl Into<String>, file: &[u8]) -> Self {
        Self {
            theta: name.into(),
            hash: blake3::hash(file).to_hex()[..16].to_owned(),
        }
    }

    /// Checks that a file is the one referred to.
    ///
    /// # Errors
    /// If its hash differs.
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
