//! The fields of BLOOM.

use serde::Deserialize;

use super::Checks;
use crate::PlmError;

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct Bloom {
    pub vocab_size: usize,
    #[serde(alias = "n_embed")]
    pub hidden_size: usize,
    #[serde(alias = "num_hidden_layers")]
    pub n_layer: usize,
    #[serde(alias = "num_attention_heads")]
    pub n_head: usize,
    #[serde(default = "layer_norm_epsilon")]
    pub layer_norm_epsilon: f64,
    #[serde(default)]
    pub apply_residual_connection_post_layernorm: bool,
    #[serde(default = "tie_word_embeddings")]
    pub tie_word_embeddings: bool,
}

// transformers' own defaults for these fields.
fn layer_norm_epsilon() -> f64 {
    1e-5
}
fn tie_word_embeddings() -> bool {
    true
}

impl Bloom {
    pub(super) fn check(&self, file: &str) -> Result<(), PlmError> {
        let check = Checks(file);
        check.sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("n_head", self.n_head),
        ])?;
        check.blocks("n_layer", self.n_layer)?;
        check.divides(("n_head", self.n_head), ("hidden_size", self.hidden_size))?;
        if !self.tie_word_embeddings {
            return check.refuse("\"tie_word_embeddings\": false is not supported (true)".into());
        }
        Ok(())
    }
}
