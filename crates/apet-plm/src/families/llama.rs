//! Llama (Touvron et al., 2023) and what shares its blocks (SmolLM2, Llama 2 and 3, Qwen2):
//! a pre-norm decoder with RMSNorm, rotary positions (Su et al., 2021), grouped-query
//! attention and SwiGLU.
//!
//! Names and numbers as in transformers, `models/llama/modeling_llama.py` and
//! `models/qwen2/modeling_qwen2.py`.

use apet_checkpoint::{Activation, families::llama as config};
use apet_record::{Part, SubLayer};
use burn::Tensor;

use crate::{
    activation::activate,
    attention::{Cache, attend, split},
    batch::Batch,
    blocks::{Blocks, Decoder, Network, Step},
    family::Family,
    footprint::{BlockShape, Footprint, Tokens},
    hooks::{InsertionPointId, LayerHooks, Linear, Norm, Table},
    loader::{Loader, SiteRole},
    rotary::Angles,
};

/// The frozen decoder.
#[derive(Debug)]
pub(crate) struct Llama {
    heads: usize,
    key_heads: usize,
    activation: Activation,
    angles: Vec<f32>,
    words: Table,
    blocks: Vec<Block>,
    norm: Norm,
    /// None where the head is tied to the token table.
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

impl Family for Llama {
    type Config = config::Llama;

    fn load(config: &config::Llama, l: &mut Loader<'_>) -> Self {
        l.anchor("embed_tokens.weight");
        l.input(config.hidden_size);
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        Self {
            heads: config.num_attention_heads,
            key_heads: config.key_heads(),
            activation: config.hidden_act,
            angles: config.angles.clone(),
            words: l.table("embed_tokens", [config.vocab_size, d]),
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::load(l, i, config))
                .collect(),
            norm: l.rms_norm("norm", d, eps, None),
            head: (!config.tie_word_embeddings)
                .then(|| l.lm_head("lm_head", [config.vocab_size, d])),
        }
    }

    fn unused(&self) -> Vec<String> {
        // A buffer of older versions of transformers, and a copy of a tied head.
        let tied = self.head.is_none().then_some("lm_head.");
        let unused = tied.into_iter().chain(["rotary_emb."]);
        unused.map(String::from).collect()
    }

    fn network(self) -> Network {
        Network::Decoder(Box::new(self))
    }

    fn footprints(c: &config::Llama) -> Vec<Footprint> {
        let shape = BlockShape {
            hidden: c.hidden_size,
            // Keys and values are repeated to as many heads as queries have.
            width: c.num_attention_heads * c.width(),
            inner: c.intermediate_size,
            activation: c.hidden_act,
            gated: true,
            pre_norm: true,
            bias_heads: 1,
            layers: [
                &["q_proj.weight", "k_proj.weight", "v_proj.weight"],
                &["o_proj.weight"],
                &["gate_proj.weight", "up_proj.weight"],
                &["down_proj.weight"],
            ],
        };
        (0..c.num_hidden_layers)
            .map(|block| shape.block(block, Tokens::Source))
            .collect()
    }
}

impl Llama {
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
        let scale = ((2 * self.angles.len()) as f64).powf(-0.5);
        let query = hooks.linear(&block.query, x.clone());
        let query = angles.rotate(split(query, rows, self.heads));
        let key = hooks.linear(&block.key, x.clone());
        let mut key = angles.rotate(split(key, rows, self.key_heads));
        let mut value = split(hooks.linear(&block.value, x), rows, self.key_heads);
        if let Some(cache) = cache {
            (key, value) = cache.extend(number, key, value);
        }
        hooks.linear(
            &block.output,
            attend(query, key, value, bias.clone(), scale),
        )
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
        let (bias, angles) = (batch.causal_bias(), Angles::new(&self.angles, batch));
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
        // Qwen2 has biases on these three, without a field for them.
        let inputs = config.attention_bias || config.model_type == "qwen2";
        let name = |part: &str| format!("layers.{i}.{part}");
        let at = |part: Part| SiteRole::block(part, i);
        let after = |l: &mut Loader<'_>, layer| l.after(&format!("layers.{i}"), layer, d, i);
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
            after_attention: after(l, SubLayer::Attention),
            attention_norm: l.rms_norm(&name("post_attention_layernorm"), d, eps, Some(i)),
            gate: l.linear(&name("mlp.gate_proj"), [inner, d], at(Part::FfnIn), mlp),
            up: l.linear(&name("mlp.up_proj"), [inner, d], at(Part::FfnGate), mlp),
            down: l.linear(&name("mlp.down_proj"), [d, inner], at(Part::FfnOut), mlp),
            after_ffn: after(l, SubLayer::Ffn),
        }
    }
}
