//! BERT (Devlin et al., 2019): post-LN encoder with absolute positions.
//!
//! Names and numbers as in transformers, `models/bert/modeling_bert.py`.

use apet_checkpoint::{Activation, families::bert as config};
use apet_record::{Part, SubLayer};
use burn::Tensor;

use crate::{
    activation::activate,
    attention::{attend, split},
    batch::Batch,
    blocks::{Blocks, Encoder, Network, Step},
    family::Family,
    footprint::{BlockShape, Footprint, Tokens},
    hooks::{InsertionPointId, LayerHooks, Linear, Norm, Table},
    loader::{Loader, SiteRole},
};

/// The frozen encoder.
#[derive(Debug)]
pub(crate) struct Bert {
    words: Table,
    positions: Table,
    token_types: Table,
    norm: Norm,
    blocks: Vec<Block>,
    pooler: Option<Linear>,
}

/// A post-LN block; MPNet has the same.
#[derive(Debug)]
pub(crate) struct Block {
    heads: usize,
    activation: Activation,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    after_attention: InsertionPointId,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    after_ffn: InsertionPointId,
    output_norm: Norm,
}

/// Parts of BERT checkpoints that this encoder does not use: the heads of
/// pre-training and fine-tuning, and a buffer of old transformers versions.
pub(crate) const UNUSED: [&str; 6] = [
    "cls.",
    "classifier.",
    "pooler.",
    "qa_outputs.",
    "embeddings.position_ids",
    "bert.embeddings.position_ids",
];

impl Family for Bert {
    type Config = config::Bert;

    fn load(config: &config::Bert, l: &mut Loader<'_>) -> Self {
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
        Self {
            words: table("word_embeddings", config.vocab_size),
            positions: table("position_embeddings", config.max_position_embeddings),
            token_types: table("token_type_embeddings", config.type_vocab_size),
            norm: l.norm("embeddings.LayerNorm", d, eps, None),
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::load(l, i, &sizes, &NAMES))
                .collect(),
            pooler: l.has("pooler.dense.weight").then(|| {
                l.linear(
                    "pooler.dense",
                    [d, d],
                    SiteRole::outside(Part::Pooler),
                    true,
                )
            }),
        }
    }

    fn unused(&self) -> Vec<String> {
        UNUSED.map(String::from).into()
    }

    fn network(self) -> Network {
        Network::Encoder(Box::new(self))
    }

    fn footprints(c: &config::Bert) -> Vec<Footprint> {
        let shape = BlockShape {
            hidden: c.hidden_size,
            width: c.hidden_size,
            inner: c.intermediate_size,
            activation: c.hidden_act,
            gated: false,
            pre_norm: false,
            bias_heads: 0,
            layers: [
                &["self.query.weight", "self.key.weight", "self.value.weight"],
                &["attention.output.dense.weight"],
                &["intermediate.dense.weight"],
                &[".output.dense.weight"],
            ],
        };
        (0..c.num_hidden_layers)
            .map(|block| shape.block(block, Tokens::Source))
            .collect()
    }
}

impl Blocks for Bert {
    fn embed(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<2> {
        let words = batch.concat(hooks.embed(&self.words, batch.ids()), hooks);
        let x = words
            + hooks.embed(&self.positions, batch.positions(0))
            + hooks.embed(&self.token_types, batch.types());
        hooks.norm(&self.norm, x)
    }

    fn count(&self) -> usize {
        self.blocks.len()
    }

    fn block<'a>(&'a self, batch: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a> {
        let bias = batch.attention_bias();
        Box::new(move |number, x, _| self.blocks[number].forward(x, &bias, hooks))
    }
}

impl Encoder for Bert {
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        hooks.project(&self.words, x)
    }

    /// tanh(W x + b) over the first token's state.
    fn pooler(&self, first: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        match &self.pooler {
            Some(pooler) => hooks.linear(pooler, first).tanh(),
            None => first,
        }
    }
}

/// The sizes of a block.
pub(crate) struct Sizes {
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) heads: usize,
    pub(crate) activation: Activation,
    pub(crate) epsilon: f64,
}

/// Names of a block's query, key, value, attention output and the norm after it.
const NAMES: [&str; 5] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
];

impl Block {
    pub(crate) fn load(l: &mut Loader<'_>, i: usize, sizes: &Sizes, names: &[&str; 5]) -> Self {
        let (d, inner, eps) = (sizes.hidden, sizes.inner, sizes.epsilon);
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
        let at = |part: Part| SiteRole::block(part, i);
        let after = |l: &mut Loader<'_>, layer| l.after(&format!("encoder.layer.{i}"), layer, d, i);
        let mut linear =
            |name_of: usize, part| l.linear(&name(names[name_of]), [d, d], at(part), true);
        Self {
            heads: sizes.heads,
            activation: sizes.activation,
            query: linear(0, Part::Query),
            key: linear(1, Part::Key),
            value: linear(2, Part::Value),
            attention_output: linear(3, Part::Output),
            after_attention: after(l, SubLayer::Attention),
            attention_norm: l.norm(&name(names[4]), d, eps, Some(i)),
            intermediate: l.linear(
                &name("intermediate.dense"),
                [inner, d],
                at(Part::FfnIn),
                true,
            ),
            output: l.linear(&name("output.dense"), [d, inner], at(Part::FfnOut), true),
            after_ffn: after(l, SubLayer::Ffn),
            output_norm: l.norm(&name("output.LayerNorm"), d, eps, Some(i)),
        }
    }

    /// x `[tokens, hidden]`, shape kept; `bias` is added to attention scores.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        bias: &Tensor<4>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let context = self.attention(x.clone(), bias, hooks);
        let attended = hooks.linear(&self.attention_output, context);
        let attended = hooks.plug(self.after_attention, attended);
        let x = hooks.norm(&self.attention_norm, attended + x);
        let inner = activate(self.activation, hooks.linear(&self.intermediate, x.clone()));
        let outer = hooks.plug(self.after_ffn, hooks.linear(&self.output, inner));
        hooks.norm(&self.output_norm, outer + x)
    }

    /// Multi-head attention before its output layer: x `[tokens, hidden]`, shape kept.
    fn attention(&self, x: Tensor<2>, bias: &Tensor<4>, hooks: &dyn LayerHooks) -> Tensor<2> {
        let [rows, ..] = bias.dims();
        let split = |x: Tensor<2>| split(x, rows, self.heads);
        let width = x.dims()[1] / self.heads;
        let scale = (width as f64).powf(-0.5);
        let query = split(hooks.linear(&self.query, x.clone()));
        let key = split(hooks.linear(&self.key, x.clone()));
        let value = split(hooks.linear(&self.value, x));
        attend(query, key, value, bias.clone(), scale)
    }
}
