//! Tuning of LayerNorm's scales and biases.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodInfo, MethodSpec},
};

/// Every scale and bias of LayerNorm (or RMSNorm).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {}

impl MethodSpec for LayerNorm {
    const INFO: MethodInfo = MethodInfo {
        name: "layer_norm",
        title: "LayerNorm tuning",
        description: "The scales and biases of every LayerNorm.",
        learning_rate: 1e-3,
        reference: "",
        fields: &[],
    };

    fn check(&self, _field: &str) -> Result<(), SpecError> {
        Ok(())
    }
}
