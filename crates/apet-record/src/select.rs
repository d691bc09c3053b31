//! APET's selectors.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    methods::{lora_alpha, lora_rank, lora_targets},
};

/// How APET selects its parameters from the pool (paper, section 2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Select {
    /// Scalars, uniformly, without replacement.
    #[default]
    Element,
    /// Whole rows of the pool's tensors in random order, the last one partly.
    Rows {},
    /// Whole columns, likewise.
    Columns {},
    /// Scalars on the diagonals of the pool's matrices.
    Diagonal {},
    /// The scalars of largest magnitude.
    Magnitude {},
    /// The scalars with the largest gradient.
    Gradient {
        /// Number of training batches whose gradients are summed.
        #[serde(default = "snip_batches")]
        batches: usize,
    },
    /// The scalars with the largest gradient times value (Lee et al., 2019).
    Snip {
        /// Number of training batches whose gradients are summed.
        #[serde(default = "snip_batches")]
        batches: usize,
    },
    /// The scalars of a mask file in the store; a random `count` of them if it has more.
    Mask {
        /// Name for errors.
        mask: String,
        /// BLAKE3 of the file in hexadecimal, or a prefix: `masks/HASH.safetensors` in the store.
        hash: String,
    },
    /// Whole units in random order, skipping those that no longer fit (the paper's released code, but
    /// never above the count).
    Unit {
        /// Kinds of units. If tensors and other kinds are named, half of the count goes to tensors.
        #[serde(default = "all_units")]
        units: Vec<Unit>,
    },
    /// Scalars inside LoRA's factors; the others keep their initial values
    /// (Donoway et al., 2025).
    LoraScalar {
        /// Rank r of the factors.
        #[serde(default = "lora_rank")]
        rank: usize,
        /// The delta is scaled by alpha / r.
        #[serde(default = "lora_alpha")]
        alpha: f64,
        /// The linear layers, named like LoRA's targets.
        #[serde(default = "lora_targets")]
        targets: Vec<String>,
    },
}

fn snip_batches() -> usize {
    8
}
fn all_units() -> Vec<Unit> {
    vec![Unit::Lora, Unit::Adapter, Unit::Tensor]
}

/// A unit of unit-mode APET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A pair of LoRA factors on a query or value layer.
    Lora,
    /// An adapter.
    Adapter,
    /// A tensor of the model.
    Tensor,
}

impl Select {
    /// The name in the spec.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Element => "element",
            Self::Rows {} => "rows",
            Self::Columns {} => "columns",
            Self::Diagonal {} => "diagonal",
            Self::Magnitude {} => "magnitude",
            Self::Gradient { .. } => "gradient",
            Self::Snip { .. } => "snip",
            Self::Mask { .. } => "mask",
            Self::Unit { .. } => "unit",
            Self::LoraScalar { .. } => "lora_scalar",
        }
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), SpecError> {
        let problem = match self {
            Self::Gradient { batches: 0 } | Self::Snip { batches: 0 } => {
                ("batches", "found 0, expected at least 1")
            }
            Self::Mask { mask, .. } if mask.is_empty() => {
                ("mask", "found an empty name, expected a mask of the store")
            }
            Self::Mask { hash, .. } if hash.len() < 8 => (
                "hash",
                "found fewer than 8 characters, expected the BLAKE3 of the mask's file",
            ),
            Self::Unit { units } if units.is_empty() => (
                "units",
                "found an empty list, expected at least one of lora, adapter, tensor",
            ),
            Self::LoraScalar { rank: 0, .. } => ("rank", "found 0, expected at least 1"),
            Self::LoraScalar { targets, .. } if targets.is_empty() => (
                "targets",
                "found an empty list, expected names such as \"query\"",
            ),
            Self::LoraScalar { alpha, .. } if !alpha.is_finite() => {
                ("alpha", "found NaN or infinity, expected a finite number")
            }
            _ => return Ok(()),
        };
        Err(SpecError {
            field: format!("{field}.select.{}", problem.0),
            problem: problem.1.into(),
        })
    }
}
