//! The pool from which APET selects its parameters.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::SpecError;

/// The tensors from which APET selects its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Kinds of modules. The default is every kind inside a block: attention, ffn, norm, bias.
    #[serde(default = "block_modules")]
    pub modules: Vec<Module>,
    /// Parts of a block; all if absent. A bias has the part of its layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<Part>>,
    /// Blocks; all if absent. Tensors outside the blocks (embeddings, pooler)
    /// are in the pool only if no layers are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// A regular expression to search in the site's name; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<String>,
}

fn block_modules() -> Vec<Module> {
    vec![Module::Attention, Module::Ffn, Module::Norm, Module::Bias]
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            modules: block_modules(),
            parts: None,
            layers: None,
            sites: None,
        }
    }
}

impl Pool {
    /// The regular expression over site names, if there is one.
    ///
    /// # Errors
    /// If it is invalid.
    pub fn pattern(&self) -> Result<Option<Regex>, SpecError> {
        let pattern = self.sites.as_deref().map(Regex::new).transpose();
        pattern.map_err(|e| SpecError {
            field: "method.pool.sites".into(),
            problem: format!("found an invalid regular expression: {e}"),
        })
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), SpecError> {
        let refuse = |name: &str, problem: String| {
            Err(SpecError {
                field: format!("{field}.pool.{name}"),
                problem,
            })
        };
        if self.modules.is_empty() {
            return refuse(
                "modules",
                "found an empty list, expected at least one of attention, ffn, norm, bias, embedding"
                    .into(),
            );
        }
        if self.parts.as_ref().is_some_and(Vec::is_empty) {
            return refuse(
                "parts",
                "found an empty list, expected at least one of query, key, value, output, ffn_in, ffn_out"
                    .into(),
            );
        }
        if let Some(l) = self.layers.filter(|l| l.first > l.last) {
            return refuse(
                "layers",
                format!("found first {} after last {}", l.first, l.last),
            );
        }
        self.pattern().map(|_| ())
    }
}

/// A tensor's role within its block, the same in every family; a bias has the part of its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Attention's output layer.
    Output,
    /// The first feed-forward layer; if it is gated, the branch with the activation.
    FfnIn,
    /// The other branch of a gated feed-forward layer, which multiplies the first.
    FfnGate,
    /// The last feed-forward layer.
    FfnOut,
    /// LayerNorm or RMSNorm.
    Norm,
    /// A table of tokens, positions or token types.
    Embedding,
    /// The pooler.
    Pooler,
    /// A language model's own head.
    LmHead,
}

impl Part {
    /// All parts, in the order of a block.
    pub const ALL: [Self; 11] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::FfnIn,
        Self::FfnGate,
        Self::FfnOut,
        Self::Norm,
        Self::Embedding,
        Self::Pooler,
        Self::LmHead,
    ];

    /// The name in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::Output => "output",
            Self::FfnIn => "ffn_in",
            Self::FfnGate => "ffn_gate",
            Self::FfnOut => "ffn_out",
            Self::Norm => "norm",
            Self::Embedding => "embedding",
            Self::Pooler => "pooler",
            Self::LmHead => "lm_head",
        }
    }

    /// The kind of module to which its weights belong.
    pub fn module(self) -> Module {
        match self {
            Self::Query | Self::Key | Self::Value | Self::Output => Module::Attention,
            Self::FfnIn | Self::FfnGate | Self::FfnOut => Module::Ffn,
            Self::Norm => Module::Norm,
            Self::Embedding => Module::Embedding,
            Self::Pooler => Module::Pooler,
            Self::LmHead => Module::LmHead,
        }
    }
}

/// A kind of module; each tensor of a model belongs to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The pooler, if the head uses it.
    Pooler,
    /// The head of a language model, if it is not the token table.
    LmHead,
}

/// Blocks `first..=last`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// First block.
    pub first: usize,
    /// Last block, included.
    pub last: usize,
}
