//! A forward pass in pieces: the embedding, and then one block at a time, for gradient
//! checkpointing.

use burn::Tensor;

use crate::{
    batch::Batch,
    blocks::{EncoderDecoder, Network, run_blocks},
    hooks::LayerHooks,
};

/// The states between two pieces of a pass.
#[derive(Clone, Debug)]
pub struct ForwardState {
    /// States of every token, `[rows * length, hidden]`.
    pub states: Tensor<2>,
    /// In the decoder of an encoder-decoder: the encoder's output, `[rows * length, hidden]`.
    pub encoded: Option<Tensor<2>>,
}

/// The forward pass of a batch, in pieces: the embedding, and each block; in an
/// encoder-decoder then those of its decoder.
#[derive(Debug)]
pub struct Pass<'a> {
    network: &'a Network,
    source: Batch,
    target: Option<(&'a dyn EncoderDecoder, Batch)>,
}

impl<'a> Pass<'a> {
    /// `source` and `target` have their virtual tokens before them.
    pub(crate) fn new(network: &'a Network, source: Batch, target: Option<Batch>) -> Self {
        let target = match network {
            Network::EncoderDecoder(both) => target.map(|target| (&**both, target)),
            _ => None,
        };
        Self {
            network,
            source,
            target,
        }
    }

    /// The number of pieces.
    pub fn pieces(&self) -> usize {
        let written = self
            .target
            .as_ref()
            .map(|(both, _)| both.decoder_count() + 1);
        self.read_pieces() + written.unwrap_or(0)
    }

    /// The number of pieces before the decoder of an encoder-decoder.
    fn read_pieces(&self) -> usize {
        self.network.reading().count() + 1
    }

    /// The piece of a block, counted as [`crate::Site::layer`] counts.
    pub fn piece_of(&self, block: usize) -> usize {
        let read = self.read_pieces();
        let piece = block + 1 + usize::from(block + 1 >= read);
        piece.min(self.pieces() - 1)
    }

    /// Runs one piece on the output of the previous one. The first one needs none.
    pub fn piece(
        &self,
        number: usize,
        before: Option<ForwardState>,
        hooks: &dyn LayerHooks,
    ) -> ForwardState {
        let (reading, read) = (self.network.reading(), self.read_pieces());
        match (before, &self.target) {
            (Some(state), Some((both, target))) if number >= read => {
                // The encoder's output, which the decoder attends to.
                let encoded = state.encoded.unwrap_or_else(|| state.states.clone());
                let decoder = both.decoder(&self.source, &encoded);
                let states = match number - read {
                    0 => decoder.embed(target, hooks),
                    block => decoder.block(target, hooks)(block - 1, state.states, None),
                };
                drop(decoder);
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
            Some((both, target)) => {
                let decoder = both.decoder(&self.source, &states);
                run_blocks(&*decoder, target, None, hooks, &mut |_| {})
            }
        }
    }
}
