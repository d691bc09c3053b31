//! The fields of Llama and Qwen2.

use serde::Deserialize;

use super::{Activation, Checks};
use crate::PlmError;

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct Llama {
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub intermediate_size: usize,
    #[serde(default = "max_position_embeddings")]
    pub max_position_embeddings: usize,
    #[serde(default = "rms_norm_eps")]
    pub rms_norm_eps: f64,
    #[serde(default = "hidden_act")]
    pub hidden_act: Activation,
    #[serde(default)]
    pub tie_word_embeddings: bool,
    #[serde(default)]
    pub attention_bias: bool,
    #[serde(default)]
    pub mlp_bias: bool,
    #[serde(default)]
    pub use_sliding_window: bool,
    /// Since transformers 5; before it, `rope_theta` and `rope_scaling`.
    pub rope_parameters: Option<Rope>,
    pub rope_theta: Option<f64>,
    pub rope_scaling: Option<Rope>,
    /// The angle that each pair of a head's numbers turns by from a token to the next.
    #[serde(skip)]
    pub turns: Vec<f32>,
}

/// How rotary positions turn.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rope {
    pub rope_theta: Option<f64>,
    #[serde(alias = "type")]
    pub rope_type: Option<String>,
    pub factor: Option<f64>,
    pub low_freq_factor: Option<f64>,
    pub high_freq_factor: Option<f64>,
    pub original_max_position_embeddings: Option<f64>,
}

// transformers' own defaults for these fields.
fn max_position_embeddings() -> usize {
    2048
}
fn rms_norm_eps() -> f64 {
    1e-6
}
fn hidden_act() -> Activation {
    Activation::Silu
}
const ROPE_THETA: f64 = 10_000.0;

/// Widest head: each of its numbers gets an angle.
const WIDEST: usize = 1 << 16;

impl Llama {
    pub(super) fn check(&mut self, file: &str) -> Result<(), PlmError> {
        let check = Checks(file);
        check.sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.key_heads()),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        check.blocks("num_hidden_layers", self.num_hidden_layers)?;
        check.divides(
            ("num_key_value_heads", self.key_heads()),
            ("num_attention_heads", self.num_attention_heads),
        )?;
        if self.head_dim.is_none() {
            check.divides(
                ("num_attention_heads", self.num_attention_heads),
                ("hidden_size", self.hidden_size),
            )?;
        }
        check.sizes(&[("head_dim", self.width())])?;
        check.divides(("2", 2), ("head_dim", self.width()))?;
        if self.width() > WIDEST {
            return check.refuse(format!(
                "\"head_dim\": {}, expected at most {WIDEST}",
                self.width()
            ));
        }
        let queries = self.num_attention_heads.saturating_mul(self.width());
        check.sizes(&[("num_attention_heads\" times \"head_dim", queries)])?;
        check.off(&[("use_sliding_window", self.use_sliding_window)])?;
        self.turns = self.angles(file)?;
        Ok(())
    }

    /// Heads of keys and values.
    pub fn key_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Size of a head.
    pub fn width(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    fn angles(&self, file: &str) -> Result<Vec<f32>, PlmError> {
        let none = Rope::default();
        let rope = self
            .rope_parameters
            .as_ref()
            .or(self.rope_scaling.as_ref())
            .unwrap_or(&none);
        let theta = rope.rope_theta.or(self.rope_theta).unwrap_or(ROPE_THETA);
        let width = self.width();
        let plain = (0..width / 2).map(|i| {
            let power = (2 * i) as f32 / width as f32;
            1.0 / libm::powf(theta as f32, power)
        });
        match rope.rope_type.as_deref() {
            None | Some("default") => Ok(plain.collect()),
            Some("llama3") => {
                let field = |name: &str, value: Option<f64>| {
                    let problem = || {
                        format!(
                            "\"rope_parameters.{name}\" is missing, \"rope_type\": \"llama3\" needs it"
                        )
                    };
                    value.ok_or_else(|| PlmError::new(file, problem()))
                };
                let factor = field("factor", rope.factor)?;
                let low = field("low_freq_factor", rope.low_freq_factor)?;
                let high = field("high_freq_factor", rope.high_freq_factor)?;
                let old = field(
                    "original_max_position_embeddings",
                    rope.original_max_position_embeddings,
                )?;
                Ok(plain
                    .map(|turn| llama3(f64::from(turn), factor, low, high, old) as f32)
                    .collect())
            }
            Some(other) => Checks(file).refuse(format!(
                "\"rope_parameters.rope_type\": \"{other}\" is not supported (default, llama3)"
            )),
        }
    }
}

/// Llama 3's longer context: slow turns get slower by `factor`, fast ones stay, those
/// between go over from one to the other.
fn llama3(turn: f64, factor: f64, low: f64, high: f64, old_length: f64) -> f64 {
    let wave = 2.0 * std::f64::consts::PI / turn;
    if wave > old_length / low {
        return turn / factor;
    }
    if wave < old_length / high {
        return turn;
    }
    let smooth = (old_length / wave - low) / (high - low);
    (1.0 - smooth) * turn / factor + smooth * turn
}
