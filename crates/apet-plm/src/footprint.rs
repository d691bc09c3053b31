//! The activations that a training step keeps of a model's blocks for their gradients, in f32
//! numbers, counted from the forward passes in `families/` and from what each operation of
//! `apet-kernels` stores. A test compares the sum with the allocations of real steps.

use apet_checkpoint::Activation;

/// The tokens that numbers are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Those of the input text.
    Source,
    /// Those of the output text, in an encoder-decoder.
    Target,
}

/// An input of linear layers, kept if one of their weights is trainable.
#[derive(Clone, Debug)]
pub struct Input {
    /// The layers, by the ends of their weights' names.
    pub layers: &'static [&'static str],
    /// Numbers per token.
    pub width: usize,
    /// The tokens it is kept for.
    pub tokens: Tokens,
}

/// The activations that one block keeps.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// The block, as [`crate::Site::layer`] counts.
    pub block: usize,
    /// The tokens whose states it processes.
    pub tokens: Tokens,
    /// Numbers per token, whichever parameters are trainable.
    pub kept: usize,
    /// Numbers per source token, whichever parameters are trainable: keys and values of
    /// cross-attention.
    pub kept_of_source: usize,
    /// Inputs of its linear layers.
    pub inputs: Vec<Input>,
    /// Width of its states.
    pub hidden: usize,
    /// Width of its feed-forward layer.
    pub inner: usize,
    /// Numbers per token that its feed-forward layer holds at once, without gradients.
    pub through_inner: usize,
    /// Numbers per token during attention: its input, queries, keys, values.
    pub through_attention: usize,
    /// Heads with a bias of every query and key that is held for all blocks.
    pub bias_heads: usize,
}

/// The shape of a family's blocks, from which their footprints follow.
pub(crate) struct BlockShape {
    pub(crate) hidden: usize,
    /// Width of all heads together.
    pub(crate) width: usize,
    pub(crate) inner: usize,
    pub(crate) activation: Activation,
    /// Whether its feed-forward layer multiplies two products.
    pub(crate) gated: bool,
    /// Whether norms precede the layers: then a block's input is held next to the normalised one.
    pub(crate) pre_norm: bool,
    pub(crate) bias_heads: usize,
    /// The linear layers of queries, keys and values, of the attention's output, of the
    /// feed-forward layer, and of its output.
    pub(crate) layers: [&'static [&'static str]; 4],
}

impl BlockShape {
    /// The footprint of block `block` for these tokens.
    pub(crate) fn block(&self, block: usize, tokens: Tokens) -> Footprint {
        let widths = [self.hidden, self.width, self.hidden, self.inner];
        let inputs = self.layers.into_iter().zip(widths);
        let activation = match self.activation {
            // Only x (relu: only the result).
            Activation::Gelu | Activation::GeluTanh | Activation::Relu => 1,
            // x times its logistic, as two operations.
            Activation::Silu => 2,
        };
        let [gate, norm] = [self.gated, self.pre_norm].map(usize::from);
        Footprint {
            block,
            tokens,
            // The inputs of both norms; queries, keys and values; what the
            // activation keeps, and both sides of a gate.
            kept: 2 * self.hidden + 3 * self.width + (activation + 2 * gate) * self.inner,
            kept_of_source: 0,
            inputs: inputs
                .map(|(layers, width)| Input {
                    layers,
                    width,
                    tokens,
                })
                .collect(),
            hidden: self.hidden,
            inner: self.inner,
            through_inner: 2 * self.inner + (1 + norm) * self.hidden,
            through_attention: self.hidden + 3 * self.width,
            bias_heads: self.bias_heads,
        }
    }
}
