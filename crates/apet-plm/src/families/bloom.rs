//! BLOOM (Le Scao et al., 2022): a pre-LN decoder with ALiBi (Press et al., 2022) in place
//! of positions, a fused query-key-value layer and a head tied to the token table.
//!
//! Names and numbers as in transformers, `models/bloom/modeling_bloom.py`.

use apet_checkpoint::{Activation, families::bloom as config};
use apet_kernels::gelu_tanh;
use apet_record::{Part, SubLayer};
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};

use crate::{
    attention::{Cache, attend, split},
    batch::Batch,
    blocks::{Blocks, Decoder, Network, Step},
    family::Family,
    footprint::{BlockShape, Footprint, Tokens},
    hooks::{InsertionPointId, LayerHooks, Linear, Norm, Rows, Table},
    loader::{Loader, SiteRole},
};

/// The frozen decoder.
#[derive(Debug)]
pub(crate) struct Bloom {
    heads: usize,
    /// Whether residuals start after the norms. No published BLOOM has it, but its config does.
    residual_after_norm: bool,
    words: Table,
    words_norm: Norm,
    blocks: Vec<Block>,
    norm: Norm,
}

#[derive(Debug)]
struct Block {
    input_norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    dense: Linear,
    after_attention: InsertionPointId,
    attention_norm: Norm,
    wide: Linear,
    narrow: Linear,
    after_ffn: InsertionPointId,
}

/// A copy of the tied head that some checkpoints have.
pub(crate) const UNUSED: [&str; 1] = ["lm_head."];

impl Family for Bloom {
    type Config = config::Bloom;

    fn load(config: &config::Bloom, l: &mut Loader<'_>) -> Self {
        l.anchor("word_embeddings.weight");
        l.input(config.hidden_size);
        let (d, eps) = (config.hidden_size, config.layer_norm_epsilon);
        Self {
            heads: config.n_head,
            residual_after_norm: config.apply_residual_connection_post_layernorm,
            words: l.table("word_embeddings", [config.vocab_size, d]),
            words_norm: l.norm("word_embeddings_layernorm", d, eps, None),
            blocks: (0..config.n_layer)
                .map(|i| Block::load(l, i, config))
                .collect(),
            norm: l.norm("ln_f", d, eps, None),
        }
    }

    fn unused(&self) -> Vec<String> {
        UNUSED.map(String::from).into()
    }

    fn network(self) -> Network {
        Network::Decoder(Box::new(self))
    }

    fn footprints(c: &config::Bloom) -> Vec<Footprint> {
        let shape = BlockShape {
            hidden: c.hidden_size,
            width: c.hidden_size,
            inner: 4 * c.hidden_size,
            activation: Activation::GeluTanh,
            gated: false,
            pre_norm: true,
            bias_heads: c.n_head,
            layers: [
                &["query_key_value.weight"],
                &["self_attention.dense.weight"],
                &["dense_h_to_4h.weight"],
                &["dense_4h_to_h.weight"],
            ],
        };
        (0..c.n_layer)
            .map(|block| shape.block(block, Tokens::Source))
            .collect()
    }
}

impl Bloom {
    /// One block: x `[tokens, hidden]`, shape kept.
    fn forward(
        &self,
        number: usize,
        x: Tensor<2>,
        bias: &Tensor<4>,
        cache: Option<&mut Cache>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let block = &self.blocks[number];
        let rest = |before: Tensor<2>, normed: &Tensor<2>| match self.residual_after_norm {
            true => normed.clone(),
            false => before,
        };
        let normed = hooks.norm(&block.input_norm, x.clone());
        let x = rest(x, &normed);
        let attended = self.attention(number, normed, bias, cache, hooks);
        let x = hooks.plug(block.after_attention, attended) + x;
        let normed = hooks.norm(&block.attention_norm, x.clone());
        let x = rest(x, &normed);
        let inner = gelu_tanh(hooks.linear(&block.wide, normed));
        hooks.plug(block.after_ffn, hooks.linear(&block.narrow, inner)) + x
    }

    /// Multi-head attention with its output layer: x `[tokens, hidden]`, shape kept.
    fn attention(
        &self,
        number: usize,
        x: Tensor<2>,
        bias: &Tensor<4>,
        cache: Option<&mut Cache>,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let block = &self.blocks[number];
        let [rows, ..] = bias.dims();
        let split = |x: Tensor<2>| split(x, rows, self.heads);
        let width = x.dims()[1] / self.heads;
        let scale = (width as f64).powf(-0.5);
        let query = split(hooks.linear(&block.query, x.clone()));
        let mut key = split(hooks.linear(&block.key, x.clone()));
        let mut value = split(hooks.linear(&block.value, x));
        if let Some(cache) = cache {
            (key, value) = cache.extend(number, key, value);
        }
        hooks.linear(&block.dense, attend(query, key, value, bias.clone(), scale))
    }

    /// The bias of attention scores: ALiBi, and a mask of later tokens and padding:
    /// `[rows, heads, length, keys]`.
    fn bias(&self, batch: &Batch) -> Tensor<4> {
        let slopes = TensorData::new(slopes(self.heads), [self.heads]);
        let slopes = Tensor::<1>::from_data(slopes, (batch.device(), DType::F32));
        batch.key_positions_as_floats() * slopes.reshape([1, self.heads, 1, 1])
            + batch.causal_bias()
    }
}

/// ALiBi's slope of each head: powers of 2^(-8 / heads); where the number of heads is no
/// power of two, every second one of twice as many fills up.
fn slopes(heads: usize) -> Vec<f32> {
    let power = 1 << heads.ilog2();
    let series = |heads: usize, every: usize| {
        let base = libm::exp2(-8.0 / heads as f64);
        (1..=heads)
            .step_by(every)
            .map(move |i| libm::pow(base, i as f64) as f32)
    };
    series(power, 1)
        .chain(series(2 * power, 2))
        .take(heads)
        .collect()
}

impl Blocks for Bloom {
    fn embed(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<2> {
        let words = batch.concat(hooks.embed(&self.words, batch.ids()), hooks);
        hooks.norm(&self.words_norm, words)
    }

    fn count(&self) -> usize {
        self.blocks.len()
    }

    fn block<'a>(&'a self, batch: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a> {
        let bias = self.bias(batch);
        Box::new(move |number, x, cache| {
            let x = self.forward(number, x, &bias, cache, hooks);
            match number + 1 == self.blocks.len() {
                true => hooks.norm(&self.norm, x),
                false => x,
            }
        })
    }
}

impl Decoder for Bloom {
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        hooks.project(&self.words, x)
    }
}

impl Block {
    fn load(l: &mut Loader<'_>, i: usize, config: &config::Bloom) -> Self {
        let (d, eps) = (config.hidden_size, config.layer_norm_epsilon);
        let width = d / config.n_head;
        let name = |part: &str| format!("h.{i}.{part}");
        let at = |part: Part| SiteRole::block(part, i);
        let after = |l: &mut Loader<'_>, layer| l.after(&format!("h.{i}"), layer, d, i);
        // The rows of each head: its query, its key, its value.
        let part = |name: &'static str, place: usize, part, l: &mut Loader<'_>| {
            let rows = Rows {
                start: place * width,
                count: width,
                stride: 3 * width,
            };
            let fused = format!("h.{i}.self_attention.query_key_value");
            l.linear_part(&fused, name, rows, [d, d], at(part), true)
        };
        Self {
            input_norm: l.norm(&name("input_layernorm"), d, eps, Some(i)),
            query: part("q", 0, Part::Query, l),
            key: part("k", 1, Part::Key, l),
            value: part("v", 2, Part::Value, l),
            dense: l.linear(
                &name("self_attention.dense"),
                [d, d],
                at(Part::Output),
                true,
            ),
            after_attention: after(l, SubLayer::Attention),
            attention_norm: l.norm(&name("post_attention_layernorm"), d, eps, Some(i)),
            wide: l.linear(
                &name("mlp.dense_h_to_4h"),
                [4 * d, d],
                at(Part::FfnIn),
                true,
            ),
            narrow: l.linear(
                &name("mlp.dense_4h_to_h"),
                [d, 4 * d],
                at(Part::FfnOut),
                true,
            ),
            after_ffn: after(l, SubLayer::Ffn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of transformers' _get_alibi_slopes.
    #[test]
    fn slopes_are_those_of_the_reference() {
        assert_eq!(slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
        let six = [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125];
        assert_eq!(slopes(6), six);
        assert_eq!(slopes(16)[0], 0.707_106_77);
    }
}
