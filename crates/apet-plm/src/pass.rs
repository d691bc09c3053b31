//! A forward pass in pieces: what goes into the blocks, and then block by block. Who goes through
//! them one at a time (gradient checkpointing) needs no block's insides.

use std::fmt::Debug;

use burn::Tensor;

use crate::{Batch, Cache, LayerHooks, Plm, model::Network, t5::T5};

/// One block: its number, and the states that go in, `[rows * length, hidden]`, to those that come
/// out. With a cache, the batch stands behind the tokens that the cache has seen.
pub(crate) type Step<'a> = Box<dyn Fn(usize, Tensor<2>, Option<&mut Cache>) -> Tensor<2> + 'a>;

/// A stack of blocks over embedded tokens.
pub(crate) trait Blocks: Debug {
    /// What goes into the first block, `[rows * length, hidden]`.
    fn embed(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<2>;

    /// How many blocks there are.
    fn count(&self) -> usize;

    /// The blocks, ready for a batch: what they all read beside the states (masks, relative
    /// positions) is made once. What stands behind the last block is part of it.
    fn block<'a>(&'a self, batch: &Batch, hooks: &'a dyn LayerHooks) -> Step<'a>;
}

/// All blocks, one after another. `see` gets what goes into each, and what comes out of the last:
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

/// What goes from one piece of a pass to the next.
#[derive(Clone, Debug)]
pub struct ForwardState {
    /// States of every token, `[rows * length, hidden]`.
    pub states: Tensor<2>,
    /// Beside the states of T5's decoder: what its encoder gave, `[rows * length, hidden]`.
    pub encoded: Option<Tensor<2>>,
}

/// A batch on its way through a model, in pieces: the embedding, and each block; in an
/// encoder-decoder the same again for the text that is written.
#[derive(Debug)]
pub struct Pass<'a> {
    network: &'a Network,
    source: Batch,
    target: Option<(&'a T5, Batch)>,
}

impl<'a> Pass<'a> {
    /// `source` and `target` have their virtual tokens before them.
    pub(crate) fn new(plm: &'a Plm, source: Batch, target: Option<Batch>) -> Self {
        let target = match &plm.network {
            Network::EncoderDecoder(t5) => target.map(|target| (&**t5, target)),
            _ => None,
        };
        Self {
            network: &plm.network,
            source,
            target,
        }
    }

    /// Pieces in all.
    pub fn pieces(&self) -> usize {
        let decoder = self.target.as_ref().map(|(t5, _)| t5.written_blocks() + 1);
        self.read_pieces() + decoder.unwrap_or(0)
    }

    /// Pieces that the text goes through that is read.
    fn read_pieces(&self) -> usize {
        self.network.reading().count() + 1
    }

    /// The piece of a block, counted as [`crate::Site::layer`] counts.
    pub fn piece_of(&self, block: usize) -> usize {
        let read = self.read_pieces();
        let piece = block + 1 + usize::from(block + 1 >= read);
        piece.min(self.pieces() - 1)
    }

    /// One piece, from what the one before it gave; the first one needs nothing.
    pub fn piece(
        &self,
        number: usize,
        before: Option<ForwardState>,
        hooks: &dyn LayerHooks,
    ) -> ForwardState {
        let (reading, read) = (self.network.reading(), self.read_pieces());
        match (before, &self.target) {
            (Some(state), Some((t5, target))) if number >= read => {
                // What the encoder gave becomes what the decoder looks at.
                let encoded = state.encoded.unwrap_or_else(|| state.states.clone());
                let writing = t5.writing(&self.source, &encoded);
                let states = match number - read {
                    0 => writing.embed(target, hooks),
                    block => writing.block(target, hooks)(block - 1, state.states, None),
                };
                ForwardState {
                    states,
                    encoded: Some(encoded),
                }
            }
            (Some(state), _) if number > 0 => ForwardState {
                states: reading.block(&self.source, hooks)(number - 1, state.states, None),
                encoded: None,
            },
            _ => ForwardState {
                states: reading.embed(&self.source, hooks),
                encoded: None,
            },
        }
    }

    /// All pieces at once: the last states, `[rows * length, hidden]`.
    pub fn whole(&self, hooks: &dyn LayerHooks) -> Tensor<2> {
        let states = run_blocks(
            self.network.reading(),
            &self.source,
            None,
            hooks,
            &mut |_| {},
        );
        match &self.target {
            None => states,
            Some((t5, target)) => {
                let writing = t5.writing(&self.source, &states);
                run_blocks(&writing, target, None, hooks, &mut |_| {})
            }
        }
    }
}
