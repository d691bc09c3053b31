//! DoRA: low-rank deltas of a weight's direction, and its magnitude.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodField, MethodInfo, MethodSpec, Values, refuse},
    methods::{lora_alpha, lora_rank, lora_targets},
};

/// m (W + (alpha / r) B A) / ||W + (alpha / r) B A|| in place of linear weights, with a norm and a
/// magnitude for every output (Liu et al., 2024).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Dora {
    /// Rank r of each delta.
    pub rank: usize,
    /// The delta is scaled by alpha / r.
    pub alpha: f64,
    /// The linear layers, named as LoRA's targets.
    pub targets: Vec<String>,
}

impl Default for Dora {
    fn default() -> Self {
        Self {
            rank: lora_rank(),
            alpha: lora_alpha(),
            targets: lora_targets(),
        }
    }
}

impl MethodSpec for Dora {
    const INFO: MethodInfo = MethodInfo {
        name: "dora",
        title: "DoRA",
        description: "Low-rank updates of the direction of selected linear layers' weights, and their magnitudes.",
        learning_rate: 1e-3,
        reference: "Liu et al., 2024, \"DoRA: Weight-Decomposed Low-Rank Adaptation\"",
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
