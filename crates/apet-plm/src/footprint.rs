//! What a training step keeps of a model's blocks for their gradients: numbers of f32,
//! counted from the forward passes beside this file and from what each operation of
//! `apet-kernels` stores. A test holds the sum to the allocations of real steps.

use apet_checkpoint::Activation;

/// Which tokens something is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Those of the text that is read.
    Source,
    /// Those of the text that is written, in an encoder-decoder.
    Target,
}

/// An input of linear layers. It is kept where one of their weights is tuned.
#[derive(Clone, Debug)]
pub struct Input {
    /// The layers, as the ends of their weights' names.
    pub layers: &'static [&'static str],
    /// Numbers a token.
    pub width: usize,
    /// Of which tokens.
    pub tokens: Tokens,
}

/// What one block keeps.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// The block, as [`crate::Site::layer`] counts.
    pub block: usize,
    /// Whose states go through it.
    pub tokens: Tokens,
    /// Numbers a token of its own, whatever is tuned.
    pub kept: usize,
    /// Numbers a source token, whatever is tuned: keys and values of cross-attention.
    pub kept_of_source: usize,
    /// Inputs of its linear layers.
    pub inputs: Vec<Input>,
    /// Width of its states.
    pub hidden: usize,
    /// Width of its feed-forward layer.
    pub inner: usize,
    /// Numbers a token that its feed-forward layer holds at once, without gradients.
    pub through_inner: usize,
    /// Numbers a token while it attends: its input, queries, keys, values.
    pub through_attention: usize,
    /// Heads whose bias of every query and key is held for all blocks.
    pub bias_heads: usize,
}

/// What the footprints of a family's blocks are made of.
pub(crate) struct BlockShape {
    pub(crate) hidden: usize,
    /// All heads together.
    pub(crate) width: usize,
    pub(crate) inner: usize,
    pub(crate) activation: Activation,
    /// Whether its feed-forward layer multiplies two products.
    pub(crate) gated: bool,
    /// Whether norms stand before the layers: then the input is held beside what goes in.
    pub(crate) pre_norm: bool,
    pub(crate) bias_heads: usize,
    /// The linear layers behind the inputs of queries, keys and values, of the attention's
    /// output, of the feed-forward layer, and of its output.
    pub(crate) layers: [&'static [&'static str]; 4],
}

impl BlockShape {
    /// What block `block` of this shape keeps of these tokens.
    pub(crate) fn block(&self, block: usize, tokens: Tokens) -> Footprint {
        let widths = [self.hidden, self.width, self.hidden, self.inner];
        let inputs = self.layers.into_iter().zip(widths);
        let activation = match self.activation {
            // x alone (relu: what comes out).
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
