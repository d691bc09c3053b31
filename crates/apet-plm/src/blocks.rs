//! What a network consists of: blocks over embedded tokens, and the three kinds of networks.

use std::fmt::Debug;

use burn::Tensor;

use crate::{attention::Cache, batch::Batch, hooks::LayerHooks};

/// One block, by its number: states `[rows * length, hidden]` to states of the same shape. With
/// a cache, the batch follows the tokens that the cache has seen.
pub(crate) type Step<'a> = Box<dyn Fn(usize, Tensor<2>, Option<&mut Cache>) -> Tensor<2> + 'a>;

/// A stack of blocks over embedded tokens.
pub(crate) trait Blocks: Debug {
    /// The input of the first block, `[rows * length, hidden]`.
    fn embed(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<2>;

    /// The number of blocks.
    fn count(&self) -> usize;

    /// The blocks, prepared for a batch: masks and positions that they share are computed once.
    /// The last block includes the norm that follows it.
    fn block<'a>(&'a self, batch: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a>;
}

/// Runs all blocks in order. `see` gets the input of each, and the output of the last:
/// transformers' `hidden_states`.
pub(crate) fn run_blocks(
    blocks: &dyn Blocks,
    batch: &Batch,
    mut cache: Option<&mut Cache>,
    hooks: &dyn LayerHooks,
    see: &mut dyn FnMut(&Tensor<2>),
) -> Tensor<2> {
    let mut x = blocks.embed(batch, hooks);
    let block = blocks.block(batch, hooks);
    for number in 0..blocks.count() {
        see(&x);
        x = block(number, x, cache.as_deref_mut());
    }
    see(&x);
    x
}

/// A network in which each token attends to the whole sequence.
pub(crate) trait Encoder: Blocks {
    /// Scores of every token of the vocabulary by its row of the table: `[tokens, hidden]` to
    /// `[tokens, vocabulary]`.
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2>;

    /// Its pooler over the first token's state, `[rows, hidden]`.
    fn pooler(&self, first: Tensor<2>, _hooks: &dyn LayerHooks) -> Tensor<2> {
        first
    }
}

/// A network in which each token attends to itself and earlier ones.
pub(crate) trait Decoder: Blocks {
    /// Scores of every token of the vocabulary: `[tokens, hidden]` to `[tokens, vocabulary]`.
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2>;
}

/// An encoder, whose blocks these are, and a decoder that attends to its output.
pub(crate) trait EncoderDecoder: Blocks {
    /// Scores of every token of the vocabulary: x `[tokens, hidden]` to `[tokens, vocabulary]`.
    fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2>;

    /// The first token of a decoder's input.
    fn start(&self) -> u32;

    /// The number of the decoder's blocks.
    fn decoder_count(&self) -> usize;

    /// The decoder over the encoder's output for `source`, `[rows * length, hidden]`. Its
    /// texts begin with [`EncoderDecoder::start`].
    fn decoder<'a>(&'a self, source: &'a Batch, encoded: &'a Tensor<2>) -> Box<dyn Blocks + 'a>;
}

/// A network, by its kind.
#[derive(Debug)]
pub(crate) enum Network {
    Encoder(Box<dyn Encoder>),
    Decoder(Box<dyn Decoder>),
    EncoderDecoder(Box<dyn EncoderDecoder>),
}

impl Network {
    /// Scores of every token of the vocabulary, `[tokens, hidden]` to `[tokens, vocabulary]`.
    pub(crate) fn logits(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        match self {
            Self::Encoder(encoder) => encoder.logits(x, hooks),
            Self::Decoder(decoder) => decoder.logits(x, hooks),
            Self::EncoderDecoder(both) => both.logits(x, hooks),
        }
    }

    /// The blocks that read a text: all but the decoder of an encoder-decoder.
    pub(crate) fn reading(&self) -> &dyn Blocks {
        match self {
            Self::Encoder(encoder) => &**encoder,
            Self::Decoder(decoder) => &**decoder,
            Self::EncoderDecoder(both) => &**both,
        }
    }
}
