//! BERT (Devlin et al., 2019): post-LN encoder with absolute positions.
//!
//! Names and numbers as in transformers, `models/bert/modeling_bert.py`.

use apet_kernels::{gelu, softmax};
use apet_record::Module;
use burn::{
    Tensor,
    tensor::{Device, activation},
};
use serde::Deserialize;

use crate::{
    Batch, Linear, Norm, PlmError, PlmFiles, Site, Table, Tap,
    checkpoint::{Checkpoint, Loader},
};

/// The fields of config.json that decide the computation. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "type_vocab_size")]
    type_vocab_size: usize,
    #[serde(default = "layer_norm_eps")]
    layer_norm_eps: f64,
    #[serde(default = "hidden_act")]
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
}

// transformers' own defaults for these fields.
fn type_vocab_size() -> usize {
    2
}
fn layer_norm_eps() -> f64 {
    1e-12
}
fn hidden_act() -> String {
    "gelu".into()
}

#[derive(Clone, Copy, Debug)]
enum Activation {
    Gelu,
    GeluTanh,
    Relu,
    Silu,
}

impl Activation {
    fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Gelu => gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::Relu => activation::relu(x),
            Self::Silu => activation::silu(x),
        }
    }
}

impl Config {
    fn read(file: &str, text: &str) -> Result<(Self, Activation), PlmError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let config: Self = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            let path = e.path().to_string();
            PlmError::new(file, format!("field \"{path}\": {}", e.inner()))
        })?;
        let refuse = |problem: String| Err(PlmError::new(file, problem));
        let positive = [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ];
        for (field, value) in positive {
            // 2^31: beyond it no tensor of the model could be addressed.
            if value == 0 || value >= 1 << 31 {
                return refuse(format!(
                    "\"{field}\": {value}, expected a number from 1 to 2^31"
                ));
            }
        }
        if !config
            .hidden_size
            .is_multiple_of(config.num_attention_heads)
        {
            return refuse(format!(
                "\"num_attention_heads\": {} does not divide \"hidden_size\": {}",
                config.num_attention_heads, config.hidden_size
            ));
        }
        match config.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => {
                return refuse(format!(
                    "\"position_embedding_type\": \"{other}\" is not supported (absolute)"
                ));
            }
        }
        for (field, found) in [
            ("is_decoder", config.is_decoder),
            ("add_cross_attention", config.add_cross_attention),
        ] {
            if found {
                return refuse(format!("\"{field}\": true is not supported (false)"));
            }
        }
        let activation = match config.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" => Activation::Silu,
            other => {
                return refuse(format!(
                    "\"hidden_act\": \"{other}\" is not supported (gelu, gelu_new, relu, silu)"
                ));
            }
        };
        Ok((config, activation))
    }
}

/// The frozen encoder.
#[derive(Debug)]
pub(crate) struct Bert {
    config: Config,
    activation: Activation,
    words: Table,
    positions: Table,
    token_types: Table,
    norm: Norm,
    blocks: Vec<Block>,
    pooler: Option<Linear>,
}

#[derive(Debug)]
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
}

/// Parts of BERT checkpoints that this encoder does not use: the heads of
/// pre-training and fine-tuning, and a buffer of old transformers versions.
const UNUSED: [&str; 6] = [
    "cls.",
    "classifier.",
    "pooler.",
    "qa_outputs.",
    "embeddings.position_ids",
    "bert.embeddings.position_ids",
];

impl Bert {
    pub(crate) fn load(
        files: &PlmFiles<'_>,
        device: &Device,
    ) -> Result<(Self, Vec<Site>, Vec<Tensor<1>>), PlmError> {
        let (config, activation) =
            Config::read(&format!("{}/config.json", files.name), files.config)?;
        let file = format!("{}/model.safetensors", files.name);
        let checkpoint =
            Checkpoint::read(&file, files.weights, "embeddings.word_embeddings.weight")?;
        let mut l = Loader::new(&file, checkpoint, device);
        let (d, eps) = (config.hidden_size, config.layer_norm_eps);
        let bert = Self {
            words: l.table("embeddings.word_embeddings", [config.vocab_size, d]),
            positions: l.table(
                "embeddings.position_embeddings",
                [config.max_position_embeddings, d],
            ),
            token_types: l.table(
                "embeddings.token_type_embeddings",
                [config.type_vocab_size, d],
            ),
            norm: l.norm("embeddings.LayerNorm", d, eps, None),
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::load(&mut l, i, &config))
                .collect(),
            pooler: l
                .has("pooler.dense.weight")
                .then(|| l.linear("pooler.dense", [d, d], Module::Pooler, None)),
            config,
            activation,
        };
        let (sites, values) = l.finish(&UNUSED)?;
        Ok((bert, sites, values))
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }
    pub(crate) fn layers(&self) -> usize {
        self.config.num_hidden_layers
    }
    pub(crate) fn hidden(&self) -> usize {
        self.config.hidden_size
    }
    pub(crate) fn max_length(&self) -> usize {
        self.config.max_position_embeddings
    }
    pub(crate) fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// After the embeddings and after each block, each `[batch, length, hidden]`.
    pub(crate) fn hidden_states(&self, batch: &Batch, tap: &dyn Tap) -> Vec<Tensor<3>> {
        let shape = [batch.rows(), batch.length(), self.config.hidden_size];
        let mut x = tap.embed(&self.words, batch.ids())
            + tap.embed(&self.positions, batch.positions())
            + tap.embed(&self.token_types, batch.types());
        x = tap.norm(&self.norm, x);
        let mut states = vec![x.clone().reshape(shape)];
        for block in &self.blocks {
            x = self.block(block, x, batch, tap);
            states.push(x.clone().reshape(shape));
        }
        states
    }

    /// One block: x `[tokens, hidden]`, shape kept.
    fn block(&self, block: &Block, x: Tensor<2>, batch: &Batch, tap: &dyn Tap) -> Tensor<2> {
        let context = self.attention(block, x.clone(), batch, tap);
        let attended = tap.linear(&block.attention_output, context);
        let x = tap.norm(&block.attention_norm, attended + x);
        let inner = self
            .activation
            .forward(tap.linear(&block.intermediate, x.clone()));
        let outer = tap.linear(&block.output, inner);
        tap.norm(&block.output_norm, outer + x)
    }

    /// Multi-head attention before its output layer: x `[tokens, hidden]`, shape kept.
    fn attention(&self, block: &Block, x: Tensor<2>, batch: &Batch, tap: &dyn Tap) -> Tensor<2> {
        let heads = self.config.num_attention_heads;
        let (rows, length, hidden) = (batch.rows(), batch.length(), self.config.hidden_size);
        let width = hidden / heads;
        // [tokens, hidden] to [batch, heads, length, width]
        let split = |x: Tensor<2>| x.reshape([rows, length, heads, width]).swap_dims(1, 2);
        let query = split(tap.linear(&block.query, x.clone()) * (width as f64).powf(-0.5));
        let key = split(tap.linear(&block.key, x.clone()));
        let value = split(tap.linear(&block.value, x));
        let scores = query.matmul(key.swap_dims(2, 3)) + batch.attention_bias();
        softmax(scores)
            .matmul(value)
            .swap_dims(1, 2)
            .reshape([rows * length, hidden])
    }

    /// tanh(W x + b) over the first token's state, `[batch, hidden]`.
    pub(crate) fn pooler(&self, first: Tensor<2>, tap: &dyn Tap) -> Tensor<2> {
        match &self.pooler {
            Some(pooler) => tap.linear(pooler, first).tanh(),
            None => first,
        }
    }
}

impl Block {
    fn load(l: &mut Loader<'_>, i: usize, config: &Config) -> Self {
        let (d, inner, eps) = (
            config.hidden_size,
            config.intermediate_size,
            config.layer_norm_eps,
        );
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
        let at = Some(i);
        Self {
            query: l.linear(&name("attention.self.query"), [d, d], Module::Attention, at),
            key: l.linear(&name("attention.self.key"), [d, d], Module::Attention, at),
            value: l.linear(&name("attention.self.value"), [d, d], Module::Attention, at),
            attention_output: l.linear(
                &name("attention.output.dense"),
                [d, d],
                Module::Attention,
                at,
            ),
            attention_norm: l.norm(&name("attention.output.LayerNorm"), d, eps, at),
            intermediate: l.linear(&name("intermediate.dense"), [inner, d], Module::Ffn, at),
            output: l.linear(&name("output.dense"), [d, inner], Module::Ffn, at),
            output_norm: l.norm(&name("output.LayerNorm"), d, eps, at),
        }
    }
}
