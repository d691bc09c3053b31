//! BLOOM (Le Scao et al., 2022).

use serde::Deserialize;

use crate::{
    PlmError,
    checks::Checks,
    family::{Dimensions, Family, FamilyInfo, Kind, TokenizerKind},
};

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

impl Family for Bloom {
    const INFO: FamilyInfo = FamilyInfo {
        pretraining: Some(TokenizerKind::ByteLevel),
        ..FamilyInfo::new(Kind::Decoder, &["bloom"], "transformer.")
    };

    fn check(&mut self, check: &Checks<'_>) -> Result<(), PlmError> {
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

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            layers: self.n_layer,
            hidden: self.hidden_size,
            vocabulary: self.vocab_size,
            max_length: usize::MAX,
        }
    }
}
