//! T5 (Raffel et al., 2020).

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    Activation, PlmError,
    checks::Checks,
    family::{Dimensions, Family, FamilyInfo, Kind},
};

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct T5 {
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    pub num_decoder_layers: Option<usize>,
    pub num_heads: usize,
    #[serde(default = "relative_attention_num_buckets")]
    pub relative_attention_num_buckets: usize,
    #[serde(default = "relative_attention_max_distance")]
    pub relative_attention_max_distance: usize,
    #[serde(default = "layer_norm_epsilon")]
    pub layer_norm_epsilon: f64,
    #[serde(default = "feed_forward_proj")]
    pub feed_forward_proj: FeedForward,
    #[serde(default = "tie_word_embeddings")]
    pub tie_word_embeddings: bool,
    /// Whether the decoder's output is scaled before the head, and the head tied: T5 as
    /// first published. transformers 5 writes this, and `tie_word_embeddings` always true.
    pub scale_decoder_outputs: Option<bool>,
    #[serde(default)]
    pub decoder_start_token_id: u32,
}

// transformers' own defaults for these fields.
fn relative_attention_num_buckets() -> usize {
    32
}
fn relative_attention_max_distance() -> usize {
    128
}
fn layer_norm_epsilon() -> f64 {
    1e-6
}
fn feed_forward_proj() -> FeedForward {
    FeedForward {
        activation: Activation::Relu,
        gated: false,
    }
}
fn tie_word_embeddings() -> bool {
    true
}

/// The feed-forward layer after its first product.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward {
    /// The activation function of the product.
    pub activation: Activation,
    /// Whether the result is multiplied by a second product.
    pub gated: bool,
}

impl<'de> Deserialize<'de> for FeedForward {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (gated, name) = match text.strip_prefix("gated-") {
            // transformers reads this one name as the tanh form, for compatibility.
            Some("gelu") => (true, "gelu_new"),
            Some(name) => (true, name),
            None => (false, text.as_str()),
        };
        let activation = Activation::by_name(name).map_err(D::Error::custom)?;
        Ok(Self { activation, gated })
    }
}

impl Family for T5 {
    const INFO: FamilyInfo = FamilyInfo {
        base_class: "T5EncoderModel",
        ..FamilyInfo::new(Kind::EncoderDecoder, &["t5"], "")
    };

    fn check(&mut self, check: &Checks<'_>) -> Result<(), PlmError> {
        check.sizes(&[
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_heads", self.num_heads),
        ])?;
        check.blocks("num_layers", self.num_layers)?;
        check.blocks("num_decoder_layers", self.decoder_layers())?;
        check.buckets(
            "relative_attention_num_buckets",
            self.relative_attention_num_buckets,
            self.relative_attention_max_distance,
        )?;
        check.sizes(&[("num_heads\" times \"d_kv", self.inner())])
    }

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            layers: self.num_layers + self.decoder_layers(),
            hidden: self.d_model,
            vocabulary: self.vocab_size,
            max_length: usize::MAX,
        }
    }
}

impl T5 {
    /// Blocks of the decoder.
    pub fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// Width of all heads together.
    pub fn inner(&self) -> usize {
        self.num_heads.saturating_mul(self.d_kv)
    }

    /// Whether the decoder's output is scaled before the head, and the head tied.
    pub fn is_scaled(&self) -> bool {
        self.scale_decoder_outputs
            .unwrap_or(self.tie_word_embeddings)
    }
}
