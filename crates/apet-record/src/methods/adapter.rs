//! Bottleneck adapters.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodField, MethodInfo, MethodSpec, Values, check_deviation, refuse},
};

/// Bottleneck adapters after attention and feed-forward layers (Houlsby et al., 2019):
/// h + W_up gelu(W_down h + b_down) + b_up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Adapter {
    /// Width of the bottleneck.
    pub bottleneck: usize,
    /// Standard deviation of the weights' initial values; biases start at 0.
    pub deviation: f64,
    /// The sub-layers of a block that an adapter follows.
    pub after: Vec<SubLayer>,
}

/// A sub-layer of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SubLayer {
    /// Self-attention with its output layer.
    Attention,
    /// The feed-forward layers.
    Ffn,
}

impl Default for Adapter {
    fn default() -> Self {
        Self {
            bottleneck: 24,
            deviation: 0.01,
            after: vec![SubLayer::Attention, SubLayer::Ffn],
        }
    }
}

impl MethodSpec for Adapter {
    const INFO: MethodInfo = MethodInfo {
        name: "adapter",
        title: "Adapter",
        description: "Bottleneck layers after attention and feed-forward layers.",
        learning_rate: 1e-3,
        reference: "Houlsby et al., 2019, \"Parameter-Efficient Transfer Learning for NLP\"",
        fields: &[MethodField {
            name: "bottleneck",
            title: "Bottleneck size",
            description: "Width of the bottlenecks.",
            values: Values::Count,
        }],
    };

    fn check(&self, field: &str) -> Result<(), SpecError> {
        if self.bottleneck == 0 {
            return refuse(field, "bottleneck", "found 0, expected at least 1");
        }
        if self.after.is_empty() {
            let problem = "found an empty list, expected at least one of attention, ffn";
            return refuse(field, "after", problem);
        }
        check_deviation(field, self.deviation)
    }
}
