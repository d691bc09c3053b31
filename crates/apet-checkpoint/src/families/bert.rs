//! BERT (Devlin et al., 2019).

use serde::Deserialize;

use crate::{
    Activation, PlmError,
    checks::Checks,
    family::{Classifier, Dimensions, Family, FamilyInfo, Kind, TokenizerKind},
};
use apet_record::Pooling;

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct Bert {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    #[serde(default = "type_vocab_size")]
    pub type_vocab_size: usize,
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "hidden_act")]
    pub hidden_act: Activation,
    #[serde(default)]
    pub position_embedding_type: Option<String>,
    #[serde(default)]
    pub is_decoder: bool,
    #[serde(default)]
    pub add_cross_attention: bool,
}

// transformers' own defaults for these fields.
fn type_vocab_size() -> usize {
    2
}
fn layer_norm_eps() -> f64 {
    1e-12
}
fn hidden_act() -> Activation {
    Activation::Gelu
}

impl Family for Bert {
    const INFO: FamilyInfo = FamilyInfo {
        classifier: Some(Classifier {
            class: "BertForSequenceClassification",
            pooling: Pooling::Pooler,
            layer: "classifier",
            other_heads: &["cls.", "classifier."],
        }),
        pretraining: Some(TokenizerKind::WordPiece),
        ..FamilyInfo::new(Kind::Encoder, &["bert"], "bert.")
    };

    fn check(&mut self, check: &Checks<'_>) -> Result<(), PlmError> {
        check.sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ])?;
        check.blocks("num_hidden_layers", self.num_hidden_layers)?;
        check.divides(
            ("num_attention_heads", self.num_attention_heads),
            ("hidden_size", self.hidden_size),
        )?;
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => {
                return check.refuse(format!(
                    "\"position_embedding_type\": \"{other}\" is not supported (absolute)"
                ));
            }
        }
        check.off(&[
            ("is_decoder", self.is_decoder),
            ("add_cross_attention", self.add_cross_attention),
        ])
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
