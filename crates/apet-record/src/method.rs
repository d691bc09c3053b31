//! What a run tunes, and where it may lie.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::{SpecError, spec::is_default};

/// What is tuned beside the head. Counts never include the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// APET: a number of parameters in arbitrary positions (paper, section 2).
    Apet {
        /// How many; exact but for [`Select::Unit`], which stays at or below it.
        count: Budget,
        /// Where they may lie.
        #[serde(default)]
        pool: Pool,
        /// How they are drawn.
        #[serde(default, skip_serializing_if = "is_default")]
        select: Select,
    },
    /// Low-rank deltas B A on linear layers (Hu et al., 2022).
    Lora {
        /// Rank r of each delta.
        #[serde(default = "lora_rank")]
        rank: usize,
        /// The delta is scaled by alpha / r.
        #[serde(default = "lora_alpha")]
        alpha: f64,
        /// The linear layers: a [`Part`] by name, or the end of a layer's name: `"query"`,
        /// `"SelfAttention.q"`, `"all-linear"`.
        #[serde(default = "lora_targets")]
        targets: Vec<String>,
    },
    /// Virtual tokens before the embedded input (Lester et al., 2021).
    Prompt {
        /// How many.
        #[serde(default = "prompt_tokens")]
        tokens: usize,
        /// Standard deviation of their initial values.
        #[serde(default = "prompt_deviation")]
        deviation: f64,
    },
    /// Bottleneck adapters behind attention and feed-forward layers (Houlsby et al., 2019):
    /// h + W_up gelu(W_down h + b_down) + b_up.
    Adapter {
        /// Width of the bottleneck.
        #[serde(default = "adapter_bottleneck")]
        bottleneck: usize,
        /// Standard deviation of the weights' initial values; biases start at 0.
        #[serde(default = "adapter_deviation")]
        deviation: f64,
        /// Behind which sub-layers of a block.
        #[serde(default = "adapter_places")]
        after: Vec<SubLayer>,
    },
    /// Learned scales of keys, values and the feed-forward layers' inner states (Liu et al., 2022).
    Ia3 {
        /// Linear layers whose outputs are scaled, named as LoRA's targets.
        #[serde(default = "ia3_outputs")]
        outputs: Vec<String>,
        /// Linear layers whose inputs are scaled.
        #[serde(default = "ia3_inputs")]
        inputs: Vec<String>,
    },
    /// Every scale and bias of LayerNorm (or RMSNorm).
    LayerNorm {},
    /// Every true bias (Ben Zaken et al., 2022), LayerNorm's included; where a model has
    /// none, new ones of 0 at every linear layer.
    Bitfit {},
    /// The head alone, on a frozen model.
    Head {},
    /// Every tensor of the model.
    Full {},
    /// Several methods at once, in one theta.
    Combined {
        /// They; none of them combined itself.
        parts: Vec<Method>,
    },
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
fn prompt_tokens() -> usize {
    100
}
fn prompt_deviation() -> f64 {
    0.1
}
fn adapter_bottleneck() -> usize {
    24
}
fn adapter_deviation() -> f64 {
    0.01
}
fn adapter_places() -> Vec<SubLayer> {
    vec![SubLayer::Attention, SubLayer::Ffn]
}
fn ia3_outputs() -> Vec<String> {
    vec!["key".into(), "value".into()]
}
fn ia3_inputs() -> Vec<String> {
    vec!["ffn_out".into()]
}

impl Default for Method {
    fn default() -> Self {
        Self::Apet {
            count: Budget::Count(10_000),
            pool: Pool::default(),
            select: Select::default(),
        }
    }
}

impl Method {
    /// The name as it stands in the spec.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Apet { .. } => "apet",
            Self::Lora { .. } => "lora",
            Self::Prompt { .. } => "prompt",
            Self::Adapter { .. } => "adapter",
            Self::Ia3 { .. } => "ia3",
            Self::LayerNorm {} => "layer_norm",
            Self::Bitfit {} => "bitfit",
            Self::Head {} => "head",
            Self::Full {} => "full",
            Self::Combined { .. } => "combined",
        }
    }

    /// The name, with APET's selector where it is not the plain one: `apet (rows)`.
    pub fn label(&self) -> String {
        match self {
            Self::Apet { select, .. } if *select != Select::Element => {
                format!("apet ({})", select.name())
            }
            Self::Combined { parts } => {
                let parts: Vec<String> = parts.iter().map(Self::label).collect();
                parts.join(" + ")
            }
            other => other.name().into(),
        }
    }

    /// LoRA as the paper has it: rank 8, alpha 16, on queries and values.
    pub fn lora() -> Self {
        Self::Lora {
            rank: lora_rank(),
            alpha: lora_alpha(),
            targets: lora_targets(),
        }
    }

    /// The paper's prompt: 100 virtual tokens from N(0, 0.1).
    pub fn prompt() -> Self {
        Self::Prompt {
            tokens: prompt_tokens(),
            deviation: prompt_deviation(),
        }
    }

    /// The paper's adapter: bottleneck 24, two a block.
    pub fn adapter() -> Self {
        Self::Adapter {
            bottleneck: adapter_bottleneck(),
            deviation: adapter_deviation(),
            after: adapter_places(),
        }
    }

    /// IA3 as its authors have it.
    pub fn ia3() -> Self {
        Self::Ia3 {
            outputs: ia3_outputs(),
            inputs: ia3_inputs(),
        }
    }

    /// The methods it is made of: itself, or its parts.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Combined { parts } => parts,
            one => std::slice::from_ref(one),
        }
    }

    /// Checks what can be checked without a model; `field` is what an error calls it.
    ///
    /// # Errors
    /// The first field that can not be run.
    pub fn check(&self, field: &str) -> Result<(), SpecError> {
        let refuse = |name: &str, problem: String| {
            Err(SpecError {
                field: format!("{field}{name}"),
                problem,
            })
        };
        let none = |name: &str, of: &str| {
            refuse(
                name,
                format!("found an empty list, expected at least one of {of}"),
            )
        };
        let deviation = |value: f64| match value {
            d if (0.0..=1e3).contains(&d) => Ok(()),
            d => refuse(
                ".deviation",
                format!("found {d}, expected a number from 0 to 1000"),
            ),
        };
        match self {
            Self::Apet {
                count,
                pool,
                select,
            } => {
                if *count == Budget::Count(0) {
                    return refuse(
                        ".count",
                        "found 0, expected at least 1 (the method \"head\" tunes nothing but the head)"
                            .into(),
                    );
                }
                pool.check(field)?;
                select.check(field)
            }
            Self::Lora { rank: 0, .. } => refuse(".rank", "found 0, expected at least 1".into()),
            Self::Lora { targets, .. } if targets.is_empty() => refuse(
                ".targets",
                "found an empty list, expected names such as \"query\"".into(),
            ),
            Self::Lora { alpha, .. } if !alpha.is_finite() => {
                refuse(".alpha", format!("found {alpha}, expected a finite number"))
            }
            Self::Prompt { tokens: 0, .. } => {
                refuse(".tokens", "found 0, expected at least 1".into())
            }
            Self::Prompt { tokens, .. } if *tokens > crate::spec::MOST => refuse(
                ".tokens",
                format!("found {tokens}, expected at most {}", crate::spec::MOST),
            ),
            Self::Prompt { deviation: d, .. } => deviation(*d),
            Self::Adapter { bottleneck: 0, .. } => {
                refuse(".bottleneck", "found 0, expected at least 1".into())
            }
            Self::Adapter { after, .. } if after.is_empty() => none(".after", "attention, ffn"),
            Self::Adapter { deviation: d, .. } => deviation(*d),
            Self::Ia3 { outputs, inputs } if outputs.is_empty() && inputs.is_empty() => refuse(
                ".outputs",
                "found no layer here nor in inputs, expected names such as \"key\"".into(),
            ),
            Self::Combined { parts } => {
                if parts.is_empty() {
                    return none(".parts", "the methods");
                }
                for (number, part) in parts.iter().enumerate() {
                    let field = format!("{field}.parts[{number}]");
                    if matches!(part, Self::Combined { .. } | Self::Head {}) {
                        return Err(SpecError {
                            field,
                            problem: format!(
                                "found \"{}\", expected a method that adds something",
                                part.name()
                            ),
                        });
                    }
                    part.check(&field)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A sub-layer of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubLayer {
    /// Self-attention with its output layer.
    Attention,
    /// The feed-forward layers.
    Ffn,
}

/// How many parameters APET takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// So many: `10000`.
    Count(u64),
    /// A share of the model's parameters: `"0.01%"`, in percent.
    Percent(f64),
    /// As many as a baseline has on this model, by its closed form: `"as lora"`.
    As(Baseline),
}

/// A baseline of the paper, whose count has a closed form (paper, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// 100 virtual tokens.
    Prompt,
    /// Every bias.
    Bitfit,
    /// Bottleneck 24, two a block.
    Adapter,
    /// Rank 8 on the queries and values of self-attention.
    Lora,
}

impl Baseline {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prompt, Self::Bitfit, Self::Adapter, Self::Lora];

    /// The name as it stands in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Bitfit => "bitfit",
            Self::Adapter => "adapter",
            Self::Lora => "lora",
        }
    }
}

impl From<u64> for Budget {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::As(baseline) => write!(f, "as {}", baseline.name()),
        }
    }
}

impl std::str::FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "found \"{text}\", expected a number, a share such as \"0.01%\", or \"as lora\", \"as bitfit\", \"as adapter\", \"as prompt\""
            )
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return (percent > 0.0 && percent <= 100.0)
                .then_some(Self::Percent(percent))
                .ok_or_else(wrong);
        }
        if let Some(name) = text.strip_prefix("as ") {
            let baseline = Baseline::ALL.into_iter().find(|b| b.name() == name);
            return baseline.map(Self::As).ok_or_else(wrong);
        }
        text.parse().map(Self::Count).map_err(|_| wrong())
    }
}

impl Serialize for Budget {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => to.serialize_u64(*count),
            other => to.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Budget;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, a share such as \"0.01%\", or \"as lora\"")
            }
            fn visit_u64<E>(self, count: u64) -> Result<Budget, E> {
                Ok(Budget::Count(count))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Budget, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// How APET's parameters are drawn from the pool (paper, section 2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Select {
    /// Scalars, uniformly, without replacement.
    #[default]
    Element,
    /// Whole rows of the pool's tensors in a random order, the last one in part.
    Rows {},
    /// Whole columns.
    Columns {},
    /// Scalars on the diagonals of the pool's matrices.
    Diagonal {},
    /// The scalars of largest magnitude.
    Magnitude {},
    /// The scalars whose gradient is largest.
    Gradient {
        /// Training batches whose gradients are added.
        #[serde(default = "snip_batches")]
        batches: usize,
    },
    /// The scalars whose gradient times value is largest (Lee et al., 2019).
    Snip {
        /// Training batches whose gradients are added.
        #[serde(default = "snip_batches")]
        batches: usize,
    },
    /// The scalars of a mask file of the store, `count` of them drawn where it has more.
    Mask {
        /// Name of the mask: `masks/NAME.safetensors` of the store.
        mask: String,
        /// BLAKE3 of the file, hexadecimal, or its beginning.
        hash: String,
    },
    /// Whole units in a random order, each that still fits (the paper's released code, with
    /// its count held).
    Unit {
        /// Kinds of units. Half of the count goes to existing tensors where both are named.
        #[serde(default = "all_units")]
        units: Vec<Unit>,
    },
    /// Scalars inside LoRA's factors; the others stay at their initial values
    /// (Donoway et al., 2025).
    LoraScalar {
        /// Rank r of the factors.
        #[serde(default = "lora_rank")]
        rank: usize,
        /// The delta is scaled by alpha / r.
        #[serde(default = "lora_alpha")]
        alpha: f64,
        /// The linear layers, named as LoRA's targets.
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
    /// The name as it stands in the spec.
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

    fn check(&self, field: &str) -> Result<(), SpecError> {
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
                ("alpha", "found no finite number, expected one")
            }
            _ => return Ok(()),
        };
        Err(SpecError {
            field: format!("{field}.select.{}", problem.0),
            problem: problem.1.into(),
        })
    }
}

/// Where APET may place its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Kinds of sub-modules. The default is every kind inside a block: attention, ffn, norm, bias.
    #[serde(default = "block_modules")]
    pub modules: Vec<Module>,
    /// Parts of a block; all where absent. A bias has the part of its layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<Part>>,
    /// Blocks; all where absent. Tensors outside the blocks (embeddings, pooler)
    /// are in the pool only when no layers are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// A regular expression that is found in the site's name; all where absent.
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
    /// The regular expression over site names, where there is one.
    ///
    /// # Errors
    /// When it is none.
    pub fn pattern(&self) -> Result<Option<Regex>, SpecError> {
        let pattern = self.sites.as_deref().map(Regex::new).transpose();
        pattern.map_err(|e| SpecError {
            field: "method.pool.sites".into(),
            problem: format!("found no regular expression: {e}"),
        })
    }

    fn check(&self, field: &str) -> Result<(), SpecError> {
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

/// What a tensor is to its block, in every family; a bias has the part of its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The feed-forward layers' first; where it is gated, what goes through the activation.
    FfnIn,
    /// What it is multiplied with, where it is gated.
    FfnGate,
    /// The feed-forward layers' last.
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
    /// All of them, in the order of a block.
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

    /// The name as it stands in the spec.
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

    /// The kind of sub-module that its weights belong to.
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
