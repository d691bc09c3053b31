//! LoRA: low-rank deltas on linear layers.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodField, MethodInfo, MethodSpec, Values, refuse},
};

/// Low-rank deltas (alpha / r) B A on linear layers (Hu et al., 2022).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Rank r of each delta.
    pub rank: usize,
    /// The delta is scaled by alpha / r.
    pub alpha: f64,
    /// The linear layers: a [`Part`](crate::Part) by name, or the end of a layer's name: `"query"`,
    /// `"SelfAttention.q"`, `"all-linear"`.
    pub targets: Vec<String>,
}

pub(crate) fn lora_rank() -> usize {
    8
}
pub(crate) fn lora_alpha() -> f64 {
    16.0
}
pub(crate) fn lora_targets() -> Vec<String> {
    vec!["query".into(), "value".into()]
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: lora_rank(),
            alpha: lora_alpha(),
            targets: lora_targets(),
        }
    }
}

impl MethodSpec for Lora {
    const INFO: MethodInfo = MethodInfo {
        name: "lora",
        title: "LoRA",
        description: "Low-rank updates of selected linear layers.",
        learning_rate: 1e-3,
        reference: "Hu et al., 2022, \"LoRA: Low-Rank Adaptation of Large Language Models\"",
        fields: &[
            MethodField {
                name: "rank",
                title: "Rank",
                description: "Rank of each update.",
                values: Values::Count,
            },
            MethodField {
                name: "alpha",
                title: "Alpha",
                description: "The update is scaled by alpha / rank.",
                values: Values::Number,
            },
            MethodField {
                name: "targets",
                title: "Linear layers",
                description: "The last parts of their names, such as query, key, value, dense.",
                values: Values::Names,
            },
        ],
    };

    fn check(&self, field: &str) -> Result<(), SpecError> {
        if self.rank == 0 {
            return refuse(field, "rank", "found 0, expected at least 1");
        }
        if self.targets.is_empty() {
            let problem = "found an empty list, expected names such as \"query\"";
            return refuse(field, "targets", problem);
        }
        if !self.alpha.is_finite() {
            let problem = format!("found {}, expected a finite number", self.alpha);
            return refuse(field, "alpha", problem);
        }
        Ok(())
    }
}
