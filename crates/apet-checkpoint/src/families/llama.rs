//! Llama (Touvron et al., 2023) and Qwen2: the same blocks, with biases in Qwen2.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Activation, PlmError,
    checks::Checks,
    family::{Dimensions, Family, FamilyInfo, GgufFields, GgufFormat, Kind},
    rope::{MAX_HEAD, ROPE_THETA, Rope},
};

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
    /// The angle of each pair of a head's numbers from one token to the next.
    #[serde(skip)]
    pub angles: Vec<f32>,
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

impl Family for Llama {
    const INFO: FamilyInfo = FamilyInfo {
        gguf: Some(GGUF),
        ..FamilyInfo::new(Kind::Decoder, &["llama", "qwen2"], "model.")
    };

    fn check(&mut self, check: &Checks<'_>) -> Result<(), PlmError> {
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
        if self.width() > MAX_HEAD {
            return check.refuse(format!(
                "\"head_dim\": {}, expected at most {MAX_HEAD}",
                self.width()
            ));
        }
        let queries = self.num_attention_heads.saturating_mul(self.width());
        check.sizes(&[("num_attention_heads\" times \"head_dim", queries)])?;
        check.off(&[("use_sliding_window", self.use_sliding_window)])?;
        let none = Rope::default();
        let rope = self.rope_parameters.as_ref();
        let rope = rope.or(self.rope_scaling.as_ref()).unwrap_or(&none);
        let theta = self.rope_theta.unwrap_or(ROPE_THETA);
        self.angles = rope.angles(self.width(), theta, check)?;
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

    fn model_type(&self) -> &str {
        &self.model_type
    }
}

impl Llama {
    /// Heads of keys and values.
    pub fn key_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Size of a head.
    pub fn width(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
}

const GGUF: GgufFormat = GgufFormat {
    architectures: &["llama", "qwen2"],
    tensors: &[
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
    ],
    blocks: "model.layers.",
    modules: &[
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
    // The table of Llama 3's angles, which config.json has as a rule.
    unsupported: &[(
        "rope_freqs.",
        "a table of rotary positions (rope_freqs.weight) is not supported; take the safetensors of this model",
    )],
    interleaved_heads,
    config: gguf_config,
};

/// llama.cpp rotates pairs of neighbours where Hugging Face rotates the halves of a head, so
/// the rows of queries and keys have another order in its Llama, but not in its Qwen2.
fn interleaved_heads(architecture: &str, tensor: &str) -> Option<&'static str> {
    match architecture {
        "llama" if tensor.contains(".attn_q.") => Some("attention.head_count"),
        "llama" if tensor.contains(".attn_k.") => Some("attention.head_count_kv"),
        _ => None,
    }
}

fn gguf_config(fields: &dyn GgufFields) -> Result<Value, PlmError> {
    let heads = fields.size("attention.head_count")?;
    let epsilon = fields.float("attention.layer_norm_rms_epsilon");
    let epsilon = epsilon.unwrap_or(1e-6);
    let mut config = json!({
        "hidden_size": fields.size("embedding_length")?,
        "intermediate_size": fields.size("feed_forward_length")?,
        "num_hidden_layers": fields.size("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": fields.integer("attention.head_count_kv").unwrap_or(heads),
        "max_position_embeddings": fields.integer("context_length").unwrap_or(2048),
        // f32 in the file: the shortest decimal that is this f32.
        "rms_norm_eps": (epsilon as f32).to_string().parse::<f64>().unwrap_or(epsilon),
        "rope_theta": fields.float("rope.freq_base").unwrap_or(ROPE_THETA),
        "hidden_act": "silu",
        "tie_word_embeddings": !fields.has_tensor("lm_head.weight"),
    });
    if let Some(width) = fields.integer("attention.key_length") {
        config["head_dim"] = width.into();
    }
    if let Some(kind) = fields
        .text("rope.scaling.type")
        .filter(|kind| *kind != "none")
    {
        let problem = format!("\"rope.scaling.type\": \"{kind}\" is not supported (none)");
        return Err(fields.error(problem));
    }
    Ok(config)
}
