//! IA3: learned scales of activations.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodInfo, MethodSpec, refuse},
};

/// Learned scales of keys, values and the feed-forward layers' inner states (Liu et al., 2022).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Ia3 {
    /// Linear layers whose outputs are scaled, named as LoRA's targets.
    pub outputs: Vec<String>,
    /// Linear layers whose inputs are scaled.
    pub inputs: Vec<String>,
}

impl Default for Ia3 {
    fn default() -> Self {
        Self {
            outputs: vec!["key".into(), "value".into()],
            inputs: vec!["ffn_out".into()],
        }
    }
}

impl MethodSpec for Ia3 {
    const INFO: MethodInfo = MethodInfo {
        name: "ia3",
        title: "IA3",
        description: "Scales of keys, values and inner feed-forward activations.",
        learning_rate: 1e-2,
        reference: "Liu et al., 2022, \"Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning\"",
        fields: &[],
    };

    fn check(&self, field: &str) -> Result<(), SpecError> {
        if self.outputs.is_empty() && self.inputs.is_empty() {
            let problem = "found no layer here nor in inputs, expected names such as \"key\"";
            return refuse(field, "outputs", problem);
        }
        Ok(())
    }
}
