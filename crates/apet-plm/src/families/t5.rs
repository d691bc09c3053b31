//! T5 (Raffel et al., 2020): encoder and decoder with relative position buckets, RMSNorm
//! before each part and no biases; as first published (ReLU, tied head) and v1.1 (gated
//! GELU, an untied head).
//!
//! Names and numbers as in transformers, `models/t5/modeling_t5.py`.

use apet_checkpoint::families::t5::{self as config, FeedForward};
use apet_record::{Part, SubLayer};
use burn::Tensor;

use crate::{
    activation::activate,
    attention::{Buckets, Cache, attend, split},
    batch::Batch,
    blocks::{Blocks, EncoderDecoder, Network, Step},
    family::Family,
    footprint::{BlockShape, Footprint, Input, Tokens},
    hooks::{InsertionPointId, LayerHooks, Linear, Norm, Table},
    loader::{Loader, SiteRole},
};

/// The frozen encoder and decoder.
#[derive(Debug)]
pub(crate) struct T5 {
    heads: usize,
    ffn: FeedForward,
    words: Table,
    encoder: Stack,
    decoder: Stack,
    /// None where the head is tied to the token table.
    head: Option<Table>,
    /// d^-1/2 where the decoder's output is scaled before the head.
    scale: Option<f64>,
    start: u32,
}

#[derive(Debug)]
struct Stack {
    buckets: Buckets,
    relative: Table,
    blocks: Vec<Block>,
    norm: Norm,
}

#[derive(Debug)]
struct Block {
    attention_norm: Norm,
    attention: Attention,
    after_attention: InsertionPointId,
    /// In the decoder: attention to the encoder's states.
    cross: Option<(Norm, Attention)>,
    ffn_norm: Norm,
    wide: Linear,
    gate: Option<Linear>,
    narrow: Linear,
    after_ffn: InsertionPointId,
}

#[derive(Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

/// Copies of tied tensors in some checkpoints, and a table of older versions.
const UNUSED: [&str; 3] = [
    "encoder.embed_tokens.",
    "decoder.embed_tokens.",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.",
];

impl Family for T5 {
    type Config = config::T5;

    fn load(config: &config::T5, l: &mut Loader<'_>) -> Self {
        l.anchor("shared.weight");
        l.input(config.d_model);
        let d = config.d_model;
        let scaled = config.is_scaled();
        Self {
            heads: config.num_heads,
            words: l.table("shared", [config.vocab_size, d]),
            encoder: Stack::load(l, "encoder", config.num_layers, 0, config),
            decoder: Stack::load(
                l,
                "decoder",
                config.decoder_layers(),
                config.num_layers,
                config,
            ),
            head: (!scaled && l.has("lm_head.weight"))
                .then(|| l.lm_head("lm_head", [config.vocab_size, d])),
            scale: scaled.then(|| (d as f64).powf(-0.5)),
            start: config.decoder_start_token_id,
            ffn: config.feed_forward_proj,
        }
    }

    fn unused(&self) -> Vec<String> {
        let tied = self.head.is_none().then_some("lm_head.");
        let unused = UNUSED.into_iter().chain(tied);
        unused.map(String::from).collect()
    }

    fn network(self) -> Network {
        Network::EncoderDecoder(Box::new(self))
    }

    fn footprints(c: &config::T5) -> Vec<Footprint> {
        let shape = BlockShape {
            hidden: c.d_model,
            width: c.inner(),
            inner: c.d_ff,
            activation: c.feed_forward_proj.activation,
            gated: c.feed_forward_proj.gated,
            pre_norm: true,
            bias_heads: c.num_heads,
            layers: [
                &[
                    "SelfAttention.q.weight",
                    "SelfAttention.k.weight",
                    "SelfAttention.v.weight",
                ],
                &["SelfAttention.o.weight"],
                &["wi.weight", "wi_0.weight", "wi_1.weight"],
                &["wo.weight"],
            ],
        };
        let encoder = (0..c.num_layers).map(|block| shape.block(block, Tokens::Source));
        let decoder = (c.num_layers..c.num_layers + c.decoder_layers()).map(|block| {
            let mut footprint = shape.block(block, Tokens::Target);
            // Attention to the encoder's output, whose keys and values are kept, too.
            footprint.kept += shape.hidden + shape.width;
            footprint.kept_of_source = 2 * shape.width;
            let cross: [(&[&str], usize); 2] = [
                (&["EncDecAttention.q.weight"], shape.hidden),
                (&["EncDecAttention.o.weight"], shape.width),
            ];
            footprint.inputs.extend(cross.map(|(layers, width)| Input {
                layers,
                width,
                tokens: Tokens::Target,
            }));
            footprint
        });
        encoder.chain(decoder).collect()
    }
}

impl T5 {
    /// The feed-forward layer of a block, and after the last one the stack's norm.
    fn rest(
        &self,
        stack: &Stack,
        number: usize,
        x: Tensor<2>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let x = self.feed_forward(&stack.blocks[number], x, hooks);
        match number + 1 == stack.blocks.len() {
            true => hooks.norm(&stack.norm, x),
            false => x,
        }
    }

    /// Self-attention with its output layer: x `[tokens, hidden]`, shape kept. T5 does not
    /// scale scores.
    fn attention(
        &self,
        attention: &Attention,
        x: Tensor<2>,
        bias: &Tensor<4>,
        cache: Option<(usize, &mut Cache)>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let rows = x.dims()[0] / bias.dims()[2];
        let split = |x: Tensor<2>| split(x, rows, self.heads);
        let query = split(hooks.linear(&attention.query, x.clone()));
        let mut key = split(hooks.linear(&attention.key, x.clone()));
        let mut value = split(hooks.linear(&attention.value, x));
        if let Some((number, cache)) = cache {
            (key, value) = cache.extend(number, key, value);
        }
        hooks.linear(
            &attention.output,
            attend(query, key, value, bias.clone(), 1.0),
        )
    }

    /// Attention of x `[tokens, hidden]` to the encoder's output, shape kept.
    fn cross(
        &self,
        attention: &Attention,
        x: Tensor<2>,
        encoded: &Tensor<2>,
        bias: &Tensor<4>,
        cache: Option<(usize, &mut Cache)>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let [rows, ..] = bias.dims();
        let split = |x: Tensor<2>| split(x, rows, self.heads);
        let query = split(hooks.linear(&attention.query, x));
        let make = || {
            let of = |layer| split(hooks.linear(layer, encoded.clone()));
            (of(&attention.key), of(&attention.value))
        };
        let (key, value) = match cache {
            Some((number, cache)) => cache.once(number, make),
            None => make(),
        };
        hooks.linear(
            &attention.output,
            attend(query, key, value, bias.clone(), 1.0),
        )
    }

    fn feed_forward(&self, block: &Block, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        let normed = hooks.norm(&block.ffn_norm, x.clone());
        let activation = self.ffn.activation;
        let mut inner = activate(activation, hooks.linear(&block.wide, normed.clone()));
        if let Some(gate) = &block.gate {
            inner = inner * hooks.linear(gate, normed);
        }
        hooks.plug(block.after_ffn, hooks.linear(&block.narrow, inner)) + x
    }
}

impl Blocks for T5 {
    fn embed(&self, source: &Batch, hooks: &dyn LayerHooks) -> Tensor<2> {
        source.concat(hooks.embed(&self.words, source.ids()), hooks)
    }

    fn count(&self) -> usize {
        self.encoder.blocks.len()
    }

    fn block<'a>(&'a self, source: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a> {
        let stack = &self.encoder;
        let bias = stack.buckets.bias(&stack.relative, source, hooks) + source.attention_bias();
        Box::new(move |number, x, _| {
            let block = &stack.blocks[number];
            let normed = hooks.norm(&block.attention_norm, x.clone());
            let attended = self.attention(&block.attention, normed, &bias, None, hooks);
            let x = hooks.plug(block.after_attention, attended) + x;
            self.rest(stack, number, x, hooks)
        })
    }
}

impl EncoderDecoder for T5 {
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        let x = match self.scale {
            Some(scale) => x * scale,
            None => x,
        };
        hooks.project(self.head.as_ref().unwrap_or(&self.words), x)
    }

    fn start(&self) -> u32 {
        self.start
    }

    fn decoder_count(&self) -> usize {
        self.decoder.blocks.len()
    }

    fn decoder<'a>(&'a self, source: &'a Batch, encoded: &'a Tensor<2>) -> Box<dyn Blocks + 'a> {
        Box::new(DecoderPass {
            t5: self,
            source,
            encoded,
        })
    }
}

/// The decoder with its encoder's output.
#[derive(Debug)]
pub(crate) struct DecoderPass<'t> {
    t5: &'t T5,
    source: &'t Batch,
    encoded: &'t Tensor<2>,
}

impl Blocks for DecoderPass<'_> {
    fn embed(&self, target: &Batch, hooks: &dyn LayerHooks) -> Tensor<2> {
        hooks.embed(&self.t5.words, target.ids())
    }

    fn count(&self) -> usize {
        self.t5.decoder.blocks.len()
    }

    fn block<'a>(&'a self, target: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a> {
        let (t5, stack) = (self.t5, &self.t5.decoder);
        let bias = stack.buckets.bias(&stack.relative, target, hooks) + target.causal_bias();
        let cross_bias = self.source.attention_bias();
        Box::new(move |number, x, mut cache| {
            let block = &stack.blocks[number];
            let normed = hooks.norm(&block.attention_norm, x.clone());
            let own = cache.as_deref_mut().map(|cache| (number, cache));
            let attended = t5.attention(&block.attention, normed, &bias, own, hooks);
            let mut x = hooks.plug(block.after_attention, attended) + x;
            if let Some((norm, attention)) = &block.cross {
                let normed = hooks.norm(norm, x.clone());
                let kept = cache.map(|cache| (number, cache));
                x = t5.cross(attention, normed, self.encoded, &cross_bias, kept, hooks) + x;
            }
            t5.rest(stack, number, x, hooks)
        })
    }
}

impl Stack {
    /// `first` is the number of its first block among all of the model.
    fn load(
        l: &mut Loader<'_>,
        name: &str,
        blocks: usize,
        first: usize,
        config: &config::T5,
    ) -> Self {
        let count = config.relative_attention_num_buckets;
        let is_decoder = name == "decoder";
        let relative = format!("{name}.block.0.layer.0.SelfAttention.relative_attention_bias");
        Self {
            buckets: Buckets {
                count,
                farthest: config.relative_attention_max_distance,
                both_ways: !is_decoder,
            },
            relative: l.table(&relative, [count, config.num_heads]),
            blocks: (0..blocks)
                .map(|i| {
                    let name = format!("{name}.block.{i}.layer");
                    Block::load(l, &name, first + i, is_decoder, config)
                })
                .collect(),
            norm: l.rms_norm(
                &format!("{name}.final_layer_norm"),
                config.d_model,
                config.layer_norm_epsilon,
                None,
            ),
        }
    }
}

impl Block {
    fn load(
        l: &mut Loader<'_>,
        name: &str,
        number: usize,
        is_decoder: bool,
        config: &config::T5,
    ) -> Self {
        let (d, inner) = (config.d_model, config.d_ff);
        let at = |part: Part| SiteRole::block(part, number);
        // `name` is that of the block's list of sub-layers.
        let block = name.trim_end_matches(".layer");
        let after = |l: &mut Loader<'_>, layer| l.after(block, layer, d, number);
        let norm = |l: &mut Loader<'_>, place: usize| {
            let name = format!("{name}.{place}.layer_norm");
            l.rms_norm(&name, d, config.layer_norm_epsilon, Some(number))
        };
        let attention = |l: &mut Loader<'_>, place: &str| {
            let heads = config.inner();
            let cross = place.ends_with("EncDecAttention");
            let mut linear = |letter: &str, part, shape| {
                let at = if cross { at(part).cross() } else { at(part) };
                l.linear(&format!("{name}.{place}.{letter}"), shape, at, false)
            };
            Attention {
                query: linear("q", Part::Query, [heads, d]),
                key: linear("k", Part::Key, [heads, d]),
                value: linear("v", Part::Value, [heads, d]),
                output: linear("o", Part::Output, [d, heads]),
            }
        };
        let last = if is_decoder { 2 } else { 1 };
        let gated = config.feed_forward_proj.gated;
        let wide = if gated { "wi_0" } else { "wi" };
        let dense = |part: &str| format!("{name}.{last}.DenseReluDense.{part}");
        Self {
            attention_norm: norm(l, 0),
            attention: attention(l, "0.SelfAttention"),
            after_attention: after(l, SubLayer::Attention),
            cross: is_decoder.then(|| (norm(l, 1), attention(l, "1.EncDecAttention"))),
            ffn_norm: norm(l, last),
            wide: l.linear(&dense(wide), [inner, d], at(Part::FfnIn), false),
            gate: gated.then(|| l.linear(&dense("wi_1"), [inner, d], at(Part::FfnGate), false)),
            narrow: l.linear(&dense("wo"), [d, inner], at(Part::FfnOut), false),
            after_ffn: after(l, SubLayer::Ffn),
        }
    }
}
