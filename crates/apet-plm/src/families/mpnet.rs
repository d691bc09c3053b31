//! MPNet (Song et al., 2020): a post-LN encoder whose blocks share one bias by relative position.
//!
//! Names and numbers as in transformers, `models/mpnet/modeling_mpnet.py`.

use apet_checkpoint::families::mpnet::{self as config, FARTHEST, FIRST_POSITION};
use burn::Tensor;

use crate::{
    attention::Buckets,
    batch::Batch,
    blocks::{Blocks, Encoder, Network, Step},
    families::bert::{Block, Sizes},
    family::Family,
    footprint::{BlockShape, Footprint, Tokens},
    hooks::{LayerHooks, Norm, Table},
    loader::Loader,
};

/// The frozen encoder.
#[derive(Debug)]
pub(crate) struct Mpnet {
    words: Table,
    positions: Table,
    norm: Norm,
    blocks: Vec<Block>,
    buckets: Buckets,
    relative: Table,
}

/// Names of a block's query, key, value, attention output and the norm after it. The rest is as
/// in BERT.
const NAMES: [&str; 5] = [
    "attention.attn.q",
    "attention.attn.k",
    "attention.attn.v",
    "attention.attn.o",
    "attention.LayerNorm",
];

/// Parts of MPNet checkpoints that this encoder does not use: the heads of pre-training
/// and fine-tuning, the pooler (transformers' classifier does without), and a buffer.
pub(crate) const UNUSED: [&str; 5] = [
    "lm_head.",
    "classifier.",
    "pooler.",
    "qa_outputs.",
    "embeddings.position_ids",
];

impl Family for Mpnet {
    type Config = config::Mpnet;

    fn load(config: &config::Mpnet, l: &mut Loader<'_>) -> Self {
        l.anchor("embeddings.word_embeddings.weight");
        l.input(config.hidden_size);
        let (d, eps) = (config.hidden_size, config.layer_norm_eps);
        let sizes = Sizes {
            hidden: d,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: eps,
        };
        let mut table = |name: &str, rows| l.table(&format!("embeddings.{name}"), [rows, d]);
        let count = config.relative_attention_num_buckets;
        Self {
            words: table("word_embeddings", config.vocab_size),
            positions: table("position_embeddings", config.max_position_embeddings),
            norm: l.norm("embeddings.LayerNorm", d, eps, None),
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::load(l, i, &sizes, &NAMES))
                .collect(),
            buckets: Buckets {
                count,
                farthest: FARTHEST,
                both_ways: true,
            },
            relative: l.table(
                "encoder.relative_attention_bias",
                [count, config.num_attention_heads],
            ),
        }
    }

    fn unused(&self) -> Vec<String> {
        UNUSED.map(String::from).into()
    }

    fn network(self) -> Network {
        Network::Encoder(Box::new(self))
    }

    fn footprints(c: &config::Mpnet) -> Vec<Footprint> {
        let shape = BlockShape {
            hidden: c.hidden_size,
            width: c.hidden_size,
            inner: c.intermediate_size,
            activation: c.hidden_act,
            gated: false,
            pre_norm: false,
            bias_heads: c.num_attention_heads,
            layers: [
                &["attn.q.weight", "attn.k.weight", "attn.v.weight"],
                &["attn.o.weight"],
                &["intermediate.dense.weight"],
                &[".output.dense.weight"],
            ],
        };
        (0..c.num_hidden_layers)
            .map(|block| shape.block(block, Tokens::Source))
            .collect()
    }
}

impl Blocks for Mpnet {
    fn embed(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<2> {
        let words = batch.concat(hooks.embed(&self.words, batch.ids()), hooks);
        let x = words + hooks.embed(&self.positions, batch.positions(FIRST_POSITION));
        hooks.norm(&self.norm, x)
    }

    fn count(&self) -> usize {
        self.blocks.len()
    }

    fn block<'a>(&'a self, batch: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a> {
        let bias = self.buckets.bias(&self.relative, batch, hooks) + batch.attention_bias();
        Box::new(move |number, x, _| self.blocks[number].forward(x, &bias, hooks))
    }
}

impl Encoder for Mpnet {
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        hooks.project(&self.words, x)
    }
}
