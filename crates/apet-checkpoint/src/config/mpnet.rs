//! The fields of MPNet.

use serde::Deserialize;

use super::{Activation, Checks};
use crate::PlmError;

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

/// The first token stands at this position: MPNet counts on from its padding id, 1.
pub const FIRST_POSITION: usize = 2;
/// From this distance on all share a bucket; transformers has it as a constant.
pub const FARTHEST: usize = 128;

impl Mpnet {
    pub(super) fn check(&self, file: &str) -> Result<(), PlmError> {
        let check = Checks(file);
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
}
