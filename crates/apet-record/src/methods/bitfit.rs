//! BitFit: biases.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodInfo, MethodSpec},
};

/// Every true bias (Ben Zaken et al., 2022), LayerNorm's included; new biases of 0 at every linear layer
/// if a model has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bitfit {}

impl MethodSpec for Bitfit {
    const INFO: MethodInfo = MethodInfo {
        name: "bitfit",
        title: "BitFit",
        description: "Every bias of the model; new biases if it has none.",
        learning_rate: 1e-3,
        reference: "Ben Zaken et al., 2022, \"BitFit: Simple Parameter-efficient Fine-tuning\"",
        fields: &[],
    };

    fn check(&self, _field: &str) -> Result<(), SpecError> {
        Ok(())
    }
}
