//! What a training step keeps of a model's blocks for their gradients: numbers of f32,
//! counted from the forward passes beside this file and from what each operation of
//! `apet-kernels` stores. A test holds the sum to the allocations of real steps.

use apet_checkpoint::{Config, config::Activation};

use crate::ModelArchitecture;

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
struct Shape {
    hidden: usize,
    /// All heads together.
    width: usize,
    inner: usize,
    activation: Activation,
    /// Whether its feed-forward layer multiplies two products.
    gated: bool,
    /// Whether norms stand before the layers: then the input is held beside what goes in.
    pre_norm: bool,
    bias_heads: usize,
    /// The linear layers behind the inputs of queries, keys and values, of the attention's
    /// output, of the feed-forward layer, and of its output.
    layers: [&'static [&'static str]; 4],
}

impl Shape {
    fn block(&self, block: usize, tokens: Tokens) -> Footprint {
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

    /// A block of T5's decoder: attention to what the encoder gives, too.
    fn decoder_block(&self, block: usize) -> Footprint {
        let mut footprint = self.block(block, Tokens::Target);
        footprint.kept += self.hidden + self.width;
        footprint.kept_of_source = 2 * self.width;
        let cross: [(&[&str], usize); 2] = [
            (&["EncDecAttention.q.weight"], self.hidden),
            (&["EncDecAttention.o.weight"], self.width),
        ];
        footprint.inputs.extend(cross.map(|(layers, width)| Input {
            layers,
            width,
            tokens: Tokens::Target,
        }));
        footprint
    }
}

impl ModelArchitecture {
    /// What each block keeps, in the order of the forward pass.
    pub fn footprints(&self) -> Vec<Footprint> {
        let shape = self.shape();
        match &self.config {
            Config::T5(c) => {
                let encoder = (0..c.num_layers).map(|i| shape.block(i, Tokens::Source));
                let decoder = c.num_layers..self.config.layers();
                encoder
                    .chain(decoder.map(|i| shape.decoder_block(i)))
                    .collect()
            }
            other => (0..other.layers())
                .map(|i| shape.block(i, Tokens::Source))
                .collect(),
        }
    }

    fn shape(&self) -> Shape {
        match &self.config {
            Config::Bert(c) => Shape {
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
            },
            Config::Mpnet(c) => Shape {
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
            },
            Config::Bloom(c) => Shape {
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
            },
            Config::Llama(c) => Shape {
                hidden: c.hidden_size,
                // Keys and values are repeated to as many heads as queries have.
                width: c.num_attention_heads * c.width(),
                inner: c.intermediate_size,
                activation: c.hidden_act,
                gated: true,
                pre_norm: true,
                bias_heads: 1,
                layers: [
                    &["q_proj.weight", "k_proj.weight", "v_proj.weight"],
                    &["o_proj.weight"],
                    &["gate_proj.weight", "up_proj.weight"],
                    &["down_proj.weight"],
                ],
            },
            Config::T5(c) => Shape {
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
            },
        }
    }
}
