//! Llama (Touvron et al., 2023) and what shares its blocks (SmolLM2, Llama 2 and 3, Qwen2):
//! a pre-norm decoder with RMSNorm, rotary positions (Su et al., 2021), grouped-query
//! attention and SwiGLU.
//!
//! Names and numbers as in transformers, `models/llama/modeling_llama.py` and
//! `models/qwen2/modeling_qwen2.py`.

use apet_record::Module;
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};
use serde::Deserialize;

use crate::{
    Batch, Linear, Norm, PlmError, Table, Tap,
    attention::{Cache, attend, split},
    config::{self, Activation, Checks},
    loader::{At, Loader},
    model::Decoder,
};

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    #[serde(default = "max_position_embeddings")]
    max_position_embeddings: usize,
    #[serde(default = "rms_norm_eps")]
    rms_norm_eps: f64,
    #[serde(default = "hidden_act")]
    hidden_act: String,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    /// Since transformers 5; before it, `rope_theta` and `rope_scaling`.
    rope_parameters: Option<Rope>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
}

/// How rotary positions turn.
#[derive(Clone, Debug, Default, Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

// transformers' own defaults for these fields.
fn max_position_embeddings() -> usize {
    2048
}
fn rms_norm_eps() -> f64 {
    1e-6
}
fn hidden_act() -> String {
    "silu".into()
}
const ROPE_THETA: f64 = 10_000.0;

impl Config {
    fn read(file: &str, text: &str) -> Result<(Self, Activation), PlmError> {
        let config: Self = config::read(file, text)?;
        let check = Checks(file);
        check.sizes(&[
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
            ("num_key_value_heads", config.key_heads()),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
        ])?;
        check.blocks("num_hidden_layers", config.num_hidden_layers)?;
        check.divides(
            ("num_key_value_heads", config.key_heads()),
            ("num_attention_heads", config.num_attention_heads),
        )?;
        if config.head_dim.is_none() {
            check.divides(
                ("num_attention_heads", config.num_attention_heads),
                ("hidden_size", config.hidden_size),
            )?;
        }
        check.sizes(&[("head_dim", config.width())])?;
        check.divides(("2", 2), ("head_dim", config.width()))?;
        check.off(&[("use_sliding_window", config.use_sliding_window)])?;
        let activation = Activation::by_name(file, "hidden_act", &config.hidden_act)?;
        Ok((config, activation))
    }

    fn key_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Size of a head.
    fn width(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// The angle that each pair of a head's numbers turns by from a token to the next.
    fn turns(&self, file: &str) -> Result<Vec<f32>, PlmError> {
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

/// The frozen decoder.
#[derive(Debug)]
pub(crate) struct Llama {
    heads: usize,
    key_heads: usize,
    activation: Activation,
    turns: Vec<f32>,
    words: Table,
    blocks: Vec<Block>,
    norm: Norm,
    /// None where the head is the token table.
    head: Option<Table>,
    max_length: usize,
}

#[derive(Debug)]
struct Block {
    input_norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Cosine and sine of every token's angles, `[rows, 1, length, width / 2]`.
struct Angles {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Llama {
    pub(crate) fn load(file: &str, text: &str, l: &mut Loader<'_>) -> Result<Self, PlmError> {
        let (config, activation) = Config::read(file, text)?;
        let turns = config.turns(file)?;
        l.anchor("embed_tokens.weight");
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        Ok(Self {
            heads: config.num_attention_heads,
            key_heads: config.key_heads(),
            activation,
            turns,
            words: l.table("embed_tokens", [config.vocab_size, d]),
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::load(l, i, &config))
                .collect(),
            norm: l.rms_norm("norm", d, eps, None),
            head: (!config.tie_word_embeddings).then(|| l.lm_head([config.vocab_size, d])),
            max_length: config.max_position_embeddings,
        })
    }

    /// Longest sequence the model was made for.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// What of a checkpoint is not used: a buffer of old transformers versions, and the
    /// head where it is tied.
    pub(crate) fn unused(&self) -> &'static [&'static str] {
        match self.head {
            None => &["lm_head.", "rotary_emb."],
            Some(_) => &["rotary_emb."],
        }
    }

    /// Blocks.
    pub(crate) fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// One block: x `[tokens, hidden]`, shape kept.
    fn block(
        &self,
        number: usize,
        x: Tensor<2>,
        bias: &Tensor<4>,
        angles: &Angles,
        cache: Option<&mut Cache>,
        tap: &dyn Tap,
    ) -> Tensor<2> {
        let block = &self.blocks[number];
        let normed = tap.norm(&block.input_norm, x.clone());
        let x = self.attention(number, normed, bias, angles, cache, tap) + x;
        let normed = tap.norm(&block.attention_norm, x.clone());
        let gate = self
            .activation
            .forward(tap.linear(&block.gate, normed.clone()));
        let inner = gate * tap.linear(&block.up, normed);
        tap.linear(&block.down, inner) + x
    }

    /// Grouped-query attention with its output layer: x `[tokens, hidden]`, shape kept.
    fn attention(
        &self,
        number: usize,
        x: Tensor<2>,
        bias: &Tensor<4>,
        angles: &Angles,
        cache: Option<&mut Cache>,
        tap: &dyn Tap,
    ) -> Tensor<2> {
        let block = &self.blocks[number];
        let [rows, ..] = bias.dims();
        let scale = ((2 * self.turns.len()) as f64).powf(-0.5);
        let query = tap.linear(&block.query, x.clone()) * scale;
        let query = angles.turn(split(query, rows, self.heads));
        let key = tap.linear(&block.key, x.clone());
        let mut key = angles.turn(split(key, rows, self.key_heads));
        let mut value = split(tap.linear(&block.value, x), rows, self.key_heads);
        if let Some(cache) = cache {
            (key, value) = cache.extend(number, key, value);
        }
        tap.linear(&block.output, attend(query, key, value, bias.clone()))
    }

    fn angles(&self, batch: &Batch) -> Angles {
        let positions = batch.own_positions();
        let shape = [batch.rows(), 1, batch.length(), self.turns.len()];
        let tensor = |of: fn(f32) -> f32| {
            let of_token = |&position: &usize| {
                self.turns
                    .iter()
                    .map(move |turn| of(position as f32 * turn))
            };
            let values: Vec<f32> = positions.iter().flat_map(of_token).collect();
            Tensor::from_data(TensorData::new(values, shape), (batch.device(), DType::F32))
        };
        Angles {
            cos: tensor(libm::cosf),
            sin: tensor(libm::sinf),
        }
    }
}

impl Angles {
    /// Turns each number of a head's first half with its partner in the second one:
    /// x `[rows, heads, length, width]`, shape kept.
    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let a = x.clone().narrow(3, 0, half);
        let b = x.narrow(3, half, half);
        let (cos, sin) = (&self.cos, &self.sin);
        let first = a.clone() * cos.clone() - b.clone() * sin.clone();
        let second = b * cos.clone() + a * sin.clone();
        Tensor::cat(vec![first, second], 3)
    }
}

impl Decoder for Llama {
    fn forward(
        &self,
        batch: &Batch,
        mut cache: Option<&mut Cache>,
        tap: &dyn Tap,
        see: &mut dyn FnMut(&Tensor<2>),
    ) -> Tensor<2> {
        let mut x = tap.embed(&self.words, batch.ids());
        let (bias, angles) = (batch.causal_bias(), self.angles(batch));
        for number in 0..self.blocks.len() {
            see(&x);
            x = self.block(number, x, &bias, &angles, cache.as_deref_mut(), tap);
        }
        let x = tap.norm(&self.norm, x);
        see(&x);
        x
    }

    fn logits(&self, x: Tensor<2>, tap: &dyn Tap) -> Tensor<2> {
        tap.project(self.head.as_ref().unwrap_or(&self.words), x)
    }
}

impl Block {
    fn load(l: &mut Loader<'_>, i: usize, config: &Config) -> Self {
        let (d, inner, eps) = (
            config.hidden_size,
            config.intermediate_size,
            config.rms_norm_eps,
        );
        let (width, keys) = (config.width(), config.key_heads() * config.width());
        let queries = config.num_attention_heads * width;
        // Qwen2 has biases on these three, without saying so.
        let inputs = config.attention_bias || config.model_type == "qwen2";
        let name = |part: &str| format!("layers.{i}.{part}");
        let attention = At(Module::Attention, Some(i));
        let ffn = At(Module::Ffn, Some(i));
        let mlp = config.mlp_bias;
        Self {
            input_norm: l.rms_norm(&name("input_layernorm"), d, eps, Some(i)),
            query: l.linear(&name("self_attn.q_proj"), [queries, d], attention, inputs),
            key: l.linear(&name("self_attn.k_proj"), [keys, d], attention, inputs),
            value: l.linear(&name("self_attn.v_proj"), [keys, d], attention, inputs),
            output: l.linear(
                &name("self_attn.o_proj"),
                [d, queries],
                attention,
                config.attention_bias,
            ),
            attention_norm: l.rms_norm(&name("post_attention_layernorm"), d, eps, Some(i)),
            gate: l.linear(&name("mlp.gate_proj"), [inner, d], ffn, mlp),
            up: l.linear(&name("mlp.up_proj"), [inner, d], ffn, mlp),
            down: l.linear(&name("mlp.down_proj"), [d, inner], ffn, mlp),
        }
    }
}
