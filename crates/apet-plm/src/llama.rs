//! Llama (Touvron et al., 2023) and what shares its blocks (SmolLM2, Llama 2 and 3, Qwen2):
//! a pre-norm decoder with RMSNorm, rotary positions (Su et al., 2021), grouped-query
//! attention and SwiGLU.
//!
//! Names and numbers as in transformers, `models/llama/modeling_llama.py` and
//! `models/qwen2/modeling_qwen2.py`.

use apet_checkpoint::config::{self, Activation};
use apet_record::{Part, SubLayer};
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};

use crate::{
    Batch, InsertionPointId, LayerHooks, Linear, Norm, Table,
    activation::activate,
    attention::{Cache, attend, split},
    loader::{Loader, SiteRole},
    model::Decoder,
    pass::{Blocks, Step},
};

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
}

#[derive(Debug)]
struct Block {
    input_norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    after_attention: InsertionPointId,
    attention_norm: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
    after_ffn: InsertionPointId,
}

/// Cosine and sine of every token's angles, `[rows, 1, length, width / 2]`.
struct Angles {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Llama {
    pub(crate) fn load(config: &config::Llama, l: &mut Loader<'_>) -> Self {
        l.anchor("embed_tokens.weight");
        l.input(config.hidden_size);
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        Self {
            heads: config.num_attention_heads,
            key_heads: config.key_heads(),
            activation: config.hidden_act,
            turns: config.turns.clone(),
            words: l.table("embed_tokens", [config.vocab_size, d]),
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::load(l, i, config))
                .collect(),
            norm: l.rms_norm("norm", d, eps, None),
            head: (!config.tie_word_embeddings).then(|| l.lm_head([config.vocab_size, d])),
        }
    }

    /// What of a checkpoint is not used: a buffer of old transformers versions, and the
    /// head where it is tied.
    pub(crate) fn unused(&self) -> &'static [&'static str] {
        match self.head {
            None => &["lm_head.", "rotary_emb."],
            Some(_) => &["rotary_emb."],
        }
    }

    /// One block: x `[tokens, hidden]`, shape kept.
    fn forward(
        &self,
        number: usize,
        x: Tensor<2>,
        bias: &Tensor<4>,
        angles: &Angles,
        cache: Option<&mut Cache>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let block = &self.blocks[number];
        let normed = hooks.norm(&block.input_norm, x.clone());
        let attended = self.attention(number, normed, bias, angles, cache, hooks);
        let x = hooks.plug(block.after_attention, attended) + x;
        let normed = hooks.norm(&block.attention_norm, x.clone());
        let gate = activate(self.activation, hooks.linear(&block.gate, normed.clone()));
        let inner = gate * hooks.linear(&block.up, normed);
        hooks.plug(block.after_ffn, hooks.linear(&block.down, inner)) + x
    }

    /// Grouped-query attention with its output layer: x `[tokens, hidden]`, shape kept.
    fn attention(
        &self,
        number: usize,
        x: Tensor<2>,
        bias: &Tensor<4>,
        angles: &Angles,
        cache: Option<&mut Cache>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let block = &self.blocks[number];
        let [rows, ..] = bias.dims();
        let scale = ((2 * self.turns.len()) as f64).powf(-0.5);
        let query = hooks.linear(&block.query, x.clone());
        let query = angles.turn(split(query, rows, self.heads));
        let key = hooks.linear(&block.key, x.clone());
        let mut key = angles.turn(split(key, rows, self.key_heads));
        let mut value = split(hooks.linear(&block.value, x), rows, self.key_heads);
        if let Some(cache) = cache {
            (key, value) = cache.extend(number, key, value);
        }
        hooks.linear(
            &block.output,
            attend(query, key, value, bias.clone(), scale),
        )
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

impl Blocks for Llama {
    fn embed(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<2> {
        batch.concat(hooks.embed(&self.words, batch.ids()), hooks)
    }

    fn count(&self) -> usize {
        self.blocks.len()
    }

    fn block<'a>(&'a self, batch: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a> {
        let (bias, angles) = (batch.causal_bias(), self.angles(batch));
        Box::new(move |number, x, cache| {
            let x = self.forward(number, x, &bias, &angles, cache, hooks);
            match number + 1 == self.blocks.len() {
                true => hooks.norm(&self.norm, x),
                false => x,
            }
        })
    }
}

impl Decoder for Llama {
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        hooks.project(self.head.as_ref().unwrap_or(&self.words), x)
    }
}

impl Block {
    fn load(l: &mut Loader<'_>, i: usize, config: &config::Llama) -> Self {
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
        let at = |part: Part| SiteRole::block(part, i);
        let behind = |l: &mut Loader<'_>, after| l.behind(&format!("layers.{i}"), after, d, i);
        let mlp = config.mlp_bias;
        Self {
            input_norm: l.rms_norm(&name("input_layernorm"), d, eps, Some(i)),
            query: l.linear(
                &name("self_attn.q_proj"),
                [queries, d],
                at(Part::Query),
                inputs,
            ),
            key: l.linear(&name("self_attn.k_proj"), [keys, d], at(Part::Key), inputs),
            value: l.linear(
                &name("self_attn.v_proj"),
                [keys, d],
                at(Part::Value),
                inputs,
            ),
            output: l.linear(
                &name("self_attn.o_proj"),
                [d, queries],
                at(Part::Output),
                config.attention_bias,
            ),
            after_attention: behind(l, SubLayer::Attention),
            attention_norm: l.rms_norm(&name("post_attention_layernorm"), d, eps, Some(i)),
            gate: l.linear(&name("mlp.gate_proj"), [inner, d], at(Part::FfnIn), mlp),
            up: l.linear(&name("mlp.up_proj"), [inner, d], at(Part::FfnGate), mlp),
            down: l.linear(&name("mlp.down_proj"), [d, inner], at(Part::FfnOut), mlp),
            after_ffn: behind(l, SubLayer::Ffn),
        }
    }
}
