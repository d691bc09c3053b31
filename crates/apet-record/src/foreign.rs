//! A run of another program.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::SpecError;

/// A run of another program: shown next to the others, but it cannot be run here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    /// The program: `peft`.
    pub program: String,
    /// The method, by our name if we have the method.
    pub method: String,
    /// The run's name there.
    pub experiment: String,
    /// Its settings there.
    pub settings: Map<String, Value>,
}

impl Foreign {
    /// Nothing of it is ours to check.
    ///
    /// # Errors
    /// Never.
    pub fn check(&self, _field: &str) -> Result<(), SpecError> {
        Ok(())
    }

    /// The program and the run's name there.
    pub fn label(&self) -> String {
        format!("{} {}", self.program, self.experiment)
    }
}
