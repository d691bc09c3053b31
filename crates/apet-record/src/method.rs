//! What a run tunes, and where it may lie.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Budget, Pool, Select, SpecError, spec::is_default};

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
    /// Bottleneck adapters after attention and feed-forward layers (Houlsby et al., 2019):
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
    /// Every tensor of the model, or every tensor of a pool.
    Full {
        /// Which; all, embeddings too, where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<Pool>,
    },
    /// Several methods at once, in one theta.
    Combined {
        /// They; none of them combined itself.
        parts: Vec<Method>,
    },
    /// A run of another program: it is shown for comparison, and cannot be run.
    Foreign {
        /// The program: `peft`.
        program: String,
        /// The method, by our name where we have it.
        method: String,
        /// What the run is called there.
        experiment: String,
        /// Its settings there.
        settings: Map<String, Value>,
    },
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
    /// The name as it stands in the spec; of another program's run the method's.
    pub fn name(&self) -> &str {
        match self {
            Self::Apet { .. } => "apet",
            Self::Lora { .. } => "lora",
            Self::Prompt { .. } => "prompt",
            Self::Adapter { .. } => "adapter",
            Self::Ia3 { .. } => "ia3",
            Self::LayerNorm {} => "layer_norm",
            Self::Bitfit {} => "bitfit",
            Self::Head {} => "head",
            Self::Full { .. } => "full",
            Self::Combined { .. } => "combined",
            Self::Foreign { method, .. } => method,
        }
    }

    /// The name, with APET's selector where it is not the plain one: `apet (rows)`; of another program's run what it is
    /// called there: `peft lora/llama-3.2-3B-rank32`.
    pub fn label(&self) -> String {
        match self {
            Self::Apet { select, .. } if *select != Select::Element => {
                format!("apet ({})", select.name())
            }
            Self::Combined { parts } => {
                let parts: Vec<String> = parts.iter().map(Self::label).collect();
                parts.join(" + ")
            }
            Self::Foreign {
                program,
                experiment,
                ..
            } => format!("{program} {experiment}"),
            other => other.name().into(),
        }
    }

    /// Whether every tensor of the model is tuned.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { pool } => pool.is_none(),
            Self::Foreign { method, .. } => method == "full",
            _ => false,
        }
    }

    /// Every tensor of the model.
    pub fn full() -> Self {
        Self::Full { pool: None }
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
    /// Names the first invalid field.
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
            Self::Full { pool: Some(pool) } => pool.check(field),
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
                    if matches!(
                        part,
                        Self::Combined { .. } | Self::Head {} | Self::Foreign { .. }
                    ) {
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
