//! MPNet (Song et al., 2020).

use serde::Deserialize;

use crate::{
    Activation, PlmError,
    checks::Checks,
    family::{Dimensions, Family, FamilyInfo, Kind},
};

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct Mpnet {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    #[serde(default = "relative_attention_num_buckets")]
    pub relative_attention_num_buckets: usize,
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "hidden_act")]
    pub hidden_act: Activation,
}

// transformers' own defaults for these fields.
fn relative_attention_num_buckets() -> usize {
    32
}
fn layer_norm_eps() -> f64 {
    1e-12
}
fn hidden_act() -> Activation {
    Activation::Gelu
}

/// Position of the first token: MPNet counts from its padding id, 1.
pub const FIRST_POSITION: usize = 2;
/// Distances from this one on share a bucket. A constant in transformers.
pub const FARTHEST: usize = 128;

impl Family for Mpnet {
    const INFO: FamilyInfo = FamilyInfo::new(Kind::Encoder, &["mpnet"], "mpnet.");

    fn check(&mut self, check: &Checks<'_>) -> Result<(), PlmError> {
        check.sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
        ])?;
        check.blocks("num_hidden_layers", self.num_hidden_layers)?;
        check.divides(
            ("num_attention_heads", self.num_attention_heads),
            ("hidden_size", self.hidden_size),
        )?;
        check.buckets(
            "relative_attention_num_buckets",
            self.relative_attention_num_buckets,
            FARTHEST,
        )?;
        if !(FIRST_POSITION + 1..1 << 31).contains(&self.max_position_embeddings) {
            return check.refuse(format!(
                "\"max_position_embeddings\": {}, expected a number from 3 to 2^31",
                self.max_position_embeddings
            ));
        }
        Ok(())
    }

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            layers: self.num_hidden_layers,
            hidden: self.hidden_size,
            vocabulary: self.vocab_size,
            max_length: self.max_position_embeddings - FIRST_POSITION,
        }
    }
}
