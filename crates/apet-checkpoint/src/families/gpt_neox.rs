//! GPT-NeoX (Black et al., 2022), the family of Pythia (Biderman et al., 2023).

use serde::Deserialize;

use crate::{
    Activation, PlmError,
    checks::Checks,
    family::{Dimensions, Family, FamilyInfo, Kind},
    rope::{MAX_HEAD, ROPE_THETA, Rope},
};

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct GptNeoX {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    #[serde(default = "max_position_embeddings")]
    pub max_position_embeddings: usize,
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "hidden_act")]
    pub hidden_act: Activation,
    #[serde(default = "yes")]
    pub use_parallel_residual: bool,
    #[serde(default = "yes")]
    pub attention_bias: bool,
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Since transformers 5; before it, `rotary_pct`, `rotary_emb_base` and `rope_scaling`.
    pub rope_parameters: Option<RopeParameters>,
    pub rotary_pct: Option<f64>,
    pub rotary_emb_base: Option<f64>,
    pub rope_scaling: Option<Rope>,
    /// The angle of each pair of a head's rotated numbers from one token to the next.
    #[serde(skip)]
    pub angles: Vec<f32>,
}

/// The rotary positions of a head's first numbers.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct RopeParameters {
    pub partial_rotary_factor: Option<f64>,
    #[serde(flatten)]
    pub rope: Rope,
}

// transformers' own defaults for these fields.
fn max_position_embeddings() -> usize {
    2048
}
fn layer_norm_eps() -> f64 {
    1e-5
}
fn hidden_act() -> Activation {
    Activation::Gelu
}
fn yes() -> bool {
    true
}
const ROTARY_PCT: f64 = 0.25;

impl Family for GptNeoX {
    const INFO: FamilyInfo = FamilyInfo::new(Kind::Decoder, &["gpt_neox"], "gpt_neox.");

    fn check(&mut self, check: &Checks<'_>) -> Result<(), PlmError> {
        check.sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            (
                "hidden_size\" times \"3",
                self.hidden_size.saturating_mul(3),
            ),
        ])?;
        check.blocks("num_hidden_layers", self.num_hidden_layers)?;
        check.divides(
            ("num_attention_heads", self.num_attention_heads),
            ("hidden_size", self.hidden_size),
        )?;
        let parameters = self.rope_parameters.as_ref();
        let share = parameters.and_then(|parameters| parameters.partial_rotary_factor);
        let share = share.or(self.rotary_pct).unwrap_or(ROTARY_PCT);
        let head = self.hidden_size / self.num_attention_heads;
        if !(0.0..=1.0).contains(&share) {
            return check.refuse(format!("\"rotary_pct\": {share}, expected 0 to 1"));
        }
        let width = (head as f64 * share) as usize;
        if width == 0 || width > MAX_HEAD || !width.is_multiple_of(2) {
            return check.refuse(format!(
                "\"rotary_pct\": {share} rotates {width} of a head's {head} numbers, expected an even number from 2 to {MAX_HEAD}"
            ));
        }
        let none = Rope::default();
        let rope = self.rope_scaling.as_ref();
        let rope = rope.or(parameters.map(|parameters| &parameters.rope));
        let theta = self.rotary_emb_base.unwrap_or(ROPE_THETA);
        self.angles = rope.unwrap_or(&none).angles(width, theta, check)?;
        Ok(())
    }

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            layers: self.num_hidden_layers,
            hidden: self.hidden_size,
            vocabulary: self.vocab_size,
            max_length: self.max_position_embeddings,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn angles(fields: &str) -> Result<Vec<f32>, String> {
        let text = format!(
            r#"{{"model_type": "gpt_neox", "vocab_size": 9, "hidden_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": 8{fields}}}"#
        );
        match Config::read("c", &text) {
            Ok(Config::GptNeoX(config)) => Ok(config.angles),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn both_spellings_of_rotary_positions_are_read() {
        let half = r#", "rotary_pct": 0.5, "rotary_emb_base": 256"#;
        assert_eq!(angles(half).unwrap(), [1.0, 0.25, 0.0625, 0.015625]);
        let new = r#", "rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 256}"#;
        assert_eq!(angles(new), angles(half));
        // transformers' defaults: a quarter of each head, base 10,000.
        assert_eq!(angles("").unwrap(), [1.0, 0.01]);
    }

    #[test]
    fn an_unsupported_rotation_is_refused_by_its_field() {
        let wrong = angles(r#", "rotary_pct": 0.2"#).unwrap_err();
        assert!(
            wrong.contains("rotates 3 of a head's 16 numbers"),
            "{wrong}"
        );
        let wrong = angles(r#", "rotary_pct": 1.5"#).unwrap_err();
        assert!(wrong.contains("expected 0 to 1"), "{wrong}");
        let wrong = angles(r#", "rope_scaling": {"type": "linear", "factor": 2}"#).unwrap_err();
        assert!(
            wrong.contains("is not supported (default, llama3)"),
            "{wrong}"
        );
    }
}
