//! The classification head alone.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodInfo, MethodSpec},
};

/// The head alone, on a frozen model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Head {}

impl MethodSpec for Head {
    const INFO: MethodInfo = MethodInfo {
        name: "head",
        title: "Head only",
        description: "Only the classifier on top of the frozen model.",
        learning_rate: 1e-3,
        reference: "",
        fields: &[],
    };

    fn check(&self, _field: &str) -> Result<(), SpecError> {
        Ok(())
    }
}
