//! What a run tunes, and where it may lie.

use serde::{Deserialize, Serialize};

/// What is tuned beside the head. Counts never include the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Element-mode APET: `count` scalars drawn uniformly, without replacement, from `pool`.
    Apet {
        /// How many scalars; exact.
        count: u64,
        /// Where they may lie.
        #[serde(default)]
        pool: Pool,
    },
    /// Low-rank deltas B A on linear layers (Hu et al., 2022).
    Lora {
        /// Rank r of each delta.
        #[serde(default = "lora_rank")]
        rank: usize,
        /// The delta is scaled by alpha / r.
        #[serde(default = "lora_alpha")]
        alpha: f64,
        /// Last name component of the linear layers: `"query"`, `"value"`, ...
        #[serde(default = "lora_targets")]
        targets: Vec<String>,
    },
    /// Every true bias (Ben Zaken et al., 2022); LayerNorm biases included.
    Bitfit {},
    /// The head alone, on a frozen model.
    Head {},
    /// Every tensor of the model.
    Full {},
}

fn lora_rank() -> usize {
    8
}
fn lora_alpha() -> f64 {
    16.0
}
fn lora_targets() -> Vec<String> {
    vec!["query".into(), "value".into()]
}

impl Default for Method {
    fn default() -> Self {
        Self::Apet {
            count: 10_000,
            pool: Pool::default(),
        }
    }
}

impl Method {
    /// The name as it stands in the spec.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Apet { .. } => "apet",
            Self::Lora { .. } => "lora",
            Self::Bitfit {} => "bitfit",
            Self::Head {} => "head",
            Self::Full {} => "full",
        }
    }
}

/// Where APET may place its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Kinds of sub-modules. The default is every kind inside a block: attention, ffn, norm, bias.
    #[serde(default = "block_modules")]
    pub modules: Vec<Module>,
    /// Blocks; all where absent. Tensors outside the blocks (embeddings, pooler)
    /// are in the pool only when no layers are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
}

fn block_modules() -> Vec<Module> {
    vec![Module::Attention, Module::Ffn, Module::Norm, Module::Bias]
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            modules: block_modules(),
            layers: None,
        }
    }
}

/// A kind of sub-module; each tensor of a model belongs to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// Weights of query, key, value and attention output.
    Attention,
    /// Weights of the feed-forward layers.
    Ffn,
    /// LayerNorm scales and biases.
    Norm,
    /// Biases of linear layers.
    Bias,
    /// Token, position and token-type tables.
    Embedding,
    /// The pooler, where the head uses it.
    Pooler,
    /// The head of a language model, where it is not its token table.
    LmHead,
}

/// Blocks `first..=last`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// First block.
    pub first: usize,
    /// Last block, included.
    pub last: usize,
}
