//! GPT-NeoX (Black et al., 2022), the family of Pythia (Biderman et al., 2023): a pre-LN decoder
//! whose attention and feed-forward layer both read the block's input (a parallel residual), with
//! rotary positions (Su et al., 2021) on a part of each head, a fused query-key-value layer and
//! an untied head.
//!
//! Names and numbers as in transformers, `models/gpt_neox/modeling_gpt_neox.py`.

use apet_checkpoint::{Activation, families::gpt_neox as config};
use apet_record::{Part, SubLayer};
use burn::Tensor;

use crate::{
    activation::activate,
    attention::{Cache, attend, split},
    batch::Batch,
    blocks::{Blocks, Decoder, Network, Step},
    family::Family,
    footprint::{BlockShape, Footprint, Tokens},
    hooks::{InsertionPointId, LayerHooks, Linear, Norm, Rows, Table},
    loader::{Loader, SiteRole},
    rotary::Angles,
};

/// The frozen decoder.
#[derive(Debug)]
pub(crate) struct GptNeoX {
    heads: usize,
    activation: Activation,
    parallel: bool,
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
    dense: Linear,
    after_attention: InsertionPointId,
    ffn_norm: Norm,
    wide: Linear,
    narrow: Linear,
    after_ffn: InsertionPointId,
}

impl Family for GptNeoX {
    type Config = config::GptNeoX;

    fn load(config: &config::GptNeoX, l: &mut Loader<'_>) -> Self {
        l.anchor("embed_in.weight");
        l.input(config.hidden_size);
        let (d, eps) = (config.hidden_size, config.layer_norm_eps);
        let table = [config.vocab_size, d];
        let blocks = 0..config.num_hidden_layers;
        Self {
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            parallel: config.use_parallel_residual,
            angles: config.angles.clone(),
            words: l.table("embed_in", table),
            blocks: blocks.map(|i| Block::load(l, i, config)).collect(),
            norm: l.norm("final_layer_norm", d, eps, None),
            head: (!config.tie_word_embeddings).then(|| l.lm_head("embed_out", table)),
        }
    }

    fn unused(&self) -> Vec<String> {
        // Buffers of older versions of transformers, and a copy of a tied head.
        let buffers = (0..self.blocks.len()).flat_map(|i| {
            let buffers = ["bias", "masked_bias", "rotary_emb."];
            buffers.map(|buffer| format!("layers.{i}.attention.{buffer}"))
        });
        let tied = self.head.is_none().then(|| "embed_out.".to_owned());
        buffers.chain(tied).collect()
    }

    fn network(self) -> Network {
        Network::Decoder(Box::new(self))
    }

    fn footprints(c: &config::GptNeoX) -> Vec<Footprint> {
        let shape = BlockShape {
            hidden: c.hidden_size,
            width: c.hidden_size,
            inner: c.intermediate_size,
            activation: c.hidden_act,
            gated: false,
            pre_norm: true,
            bias_heads: 1,
            layers: [
                &["query_key_value.weight"],
                &["attention.dense.weight"],
                &["dense_h_to_4h.weight"],
                &["dense_4h_to_h.weight"],
            ],
        };
        let block = |block| {
            let mut footprint = shape.block(block, Tokens::Source);
            if c.use_parallel_residual {
                // Both norms read the states that the previous block returned, so a parallel block keeps two states
                // fewer than a sequential one. tests/plan.rs compares this with real steps.
                footprint.kept -= 2 * c.hidden_size;
            }
            footprint
        };
        (0..c.num_hidden_layers).map(block).collect()
    }
}

impl GptNeoX {
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
        let attended = hooks.plug(block.after_attention, attended);
        if self.parallel {
            return self.feed_forward(block, x.clone(), hooks) + attended + x;
        }
        let x = attended + x;
        self.feed_forward(block, x.clone(), hooks) + x
    }

    /// Multi-head attention with its output layer: x `[tokens, hidden]`, shape kept.
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
        let split = |x: Tensor<2>| split(x, rows, self.heads);
        let width = x.dims()[1] / self.heads;
        let scale = (width as f64).powf(-0.5);
        let query = angles.rotate(split(hooks.linear(&block.query, x.clone())));
        let mut key = angles.rotate(split(hooks.linear(&block.key, x.clone())));
        let mut value = split(hooks.linear(&block.value, x));
        if let Some(cache) = cache {
            (key, value) = cache.extend(number, key, value);
        }
        hooks.linear(&block.dense, attend(query, key, value, bias.clone(), scale))
    }

    /// The feed-forward layer with its norm: x `[tokens, hidden]`, shape kept.
    fn feed_forward(&self, block: &Block, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        let normed = hooks.norm(&block.ffn_norm, x);
        let inner = activate(self.activation, hooks.linear(&block.wide, normed));
        hooks.plug(block.after_ffn, hooks.linear(&block.narrow, inner))
    }
}

impl Blocks for GptNeoX {
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

impl Decoder for GptNeoX {
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        hooks.project(self.head.as_ref().unwrap_or(&self.words), x)
    }
}

impl Block {
    fn load(l: &mut Loader<'_>, i: usize, config: &config::GptNeoX) -> Self {
        let (d, eps) = (config.hidden_size, config.layer_norm_eps);
        let (inner, width) = (config.intermediate_size, d / config.num_attention_heads);
        let name = |part: &str| format!("layers.{i}.{part}");
        let at = |part: Part| SiteRole::block(part, i);
        let after = |l: &mut Loader<'_>, layer| l.after(&format!("layers.{i}"), layer, d, i);
        let bias = config.attention_bias;
        // The rows of each head: its query, its key, its value.
        let part = |l: &mut Loader<'_>, part, index: usize, role| {
            let rows = Rows {
                start: index * width,
                count: width,
                stride: 3 * width,
            };
            let fused = name("attention.query_key_value");
            l.linear_part(&fused, part, rows, [d, d], at(role), bias)
        };
        Self {
            input_norm: l.norm(&name("input_layernorm"), d, eps, Some(i)),
            query: part(l, "q", 0, Part::Query),
            key: part(l, "k", 1, Part::Key),
            value: part(l, "v", 2, Part::Value),
            dense: l.linear(&name("attention.dense"), [d, d], at(Part::Output), bias),
            after_attention: after(l, SubLayer::Attention),
            ffn_norm: l.norm(&name("post_attention_layernorm"), d, eps, Some(i)),
            wide: l.linear(
                &name("mlp.dense_h_to_4h"),
                [inner, d],
                at(Part::FfnIn),
                true,
            ),
            narrow: l.linear(
                &name("mlp.dense_4h_to_h"),
                [d, inner],
                at(Part::FfnOut),
                true,
            ),
            after_ffn: after(l, SubLayer::Ffn),
        }
    }
}
