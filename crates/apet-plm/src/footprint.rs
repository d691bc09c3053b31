//! What a training step keeps of a model's blocks for their gradients: numbers of f32,
//! counted from the forward passes beside this file and from what each operation of
//! `apet-kernels` stores. A test holds the sum to the allocations of real steps.

use apet_checkpoint::{Config, config::Activation};

use crate::Outline;

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
    /// Heads of each of its attentions, and the tokens that are its keys.
    pub attentions: Vec<(usize, Tokens)>,
    /// Inputs of its linear layers.
    pub inputs: Vec<Input>,
    /// Width of its states.
    pub hidden: usize,
    /// Width of its feed-forward layer.
    pub inner: usize,
    /// Numbers a token that its feed-forward layer holds at once, without gradients.
    pub through_inner: usize,
    /// Numbers a token beside the scores while it attends: its input, queries, keys, values.
    pub through_attention: usize,
    /// Heads whose bias of every query and key is held for all blocks.
    pub bias_heads: usize,
}

/// Sizes that a block's footprint is made of.
struct Sizes {
    hidden: usize,
    /// All heads together.
    width: usize,
    heads: usize,
    inner: usize,
    /// What the feed-forward layer keeps.
    feed_forward: usize,
    /// Whether its feed-forward layer multiplies two products.
    gated: bool,
    /// Whether norms stand before the layers: then the input is held beside what goes in.
    pre_norm: bool,
    bias_heads: usize,
}

impl Sizes {
    /// A block of self-attention and a feed-forward layer, with `layers` for the inputs of
    /// queries, keys and values, of the attention's output, of the feed-forward layer, and
    /// of its output.
    fn block(
        &self,
        block: usize,
        tokens: Tokens,
        layers: [&'static [&'static str]; 4],
    ) -> Footprint {
        let [attention, output, wide, narrow] = layers;
        let input = |layers, width| Input {
            layers,
            width,
            tokens,
        };
        Footprint {
            block,
            tokens,
            // The normalized states of both norms; queries, keys and values; the
            // feed-forward layer's own.
            kept: 2 * self.hidden + 3 * self.width + self.feed_forward,
            kept_of_source: 0,
            attentions: vec![(self.heads, tokens)],
            inputs: vec![
                input(attention, self.hidden),
                input(output, self.width),
                input(wide, self.hidden),
                input(narrow, self.inner),
            ],
            hidden: self.hidden,
            inner: self.inner,
            through_inner: (2 + usize::from(self.gated)) * self.inner
                + (1 + usize::from(self.pre_norm)) * self.hidden,
            through_attention: self.hidden + 3 * self.width,
            bias_heads: self.bias_heads,
        }
    }
}

/// Numbers that an activation of `inner` keeps, and the product behind it where it is gated.
fn feed_forward(activation: Activation, inner: usize, gated: bool) -> usize {
    let own = match activation {
        // x alone (relu: what comes out).
        Activation::Gelu | Activation::GeluTanh | Activation::Relu => 1,
        // x times its logistic, as two operations.
        Activation::Silu => 2,
    };
    inner * (own + if gated { 2 } else { 0 })
}

impl Outline {
    /// What each block keeps, in the order of the forward pass.
    pub fn footprints(&self) -> Vec<Footprint> {
        use Tokens::{Source, Target};
        match &self.config {
            Config::Bert(c) => {
                let sizes = Sizes {
                    hidden: c.hidden_size,
                    width: c.hidden_size,
                    heads: c.num_attention_heads,
                    inner: c.intermediate_size,
                    feed_forward: feed_forward(c.hidden_act, c.intermediate_size, false),
                    gated: false,
                    pre_norm: false,
                    bias_heads: 0,
                };
                let layers: [&[&str]; 4] = [
                    &["self.query.weight", "self.key.weight", "self.value.weight"],
                    &["attention.output.dense.weight"],
                    &["intermediate.dense.weight"],
                    &[".output.dense.weight"],
                ];
                let blocks = 0..c.num_hidden_layers;
                blocks.map(|i| sizes.block(i, Source, layers)).collect()
            }
            Config::Mpnet(c) => {
                let sizes = Sizes {
                    hidden: c.hidden_size,
                    width: c.hidden_size,
                    heads: c.num_attention_heads,
                    inner: c.intermediate_size,
                    feed_forward: feed_forward(c.hidden_act, c.intermediate_size, false),
                    gated: false,
                    pre_norm: false,
                    bias_heads: c.num_attention_heads,
                };
                let layers: [&[&str]; 4] = [
                    &["attn.q.weight", "attn.k.weight", "attn.v.weight"],
                    &["attn.o.weight"],
                    &["intermediate.dense.weight"],
                    &[".output.dense.weight"],
                ];
                let blocks = 0..c.num_hidden_layers;
                blocks.map(|i| sizes.block(i, Source, layers)).collect()
            }
            Config::Bloom(c) => {
                let inner = 4 * c.hidden_size;
                let sizes = Sizes {
                    hidden: c.hidden_size,
                    width: c.hidden_size,
                    heads: c.n_head,
                    inner,
                    feed_forward: feed_forward(Activation::GeluTanh, inner, false),
                    gated: false,
                    pre_norm: true,
                    bias_heads: c.n_head,
                };
                let layers: [&[&str]; 4] = [
                    &["query_key_value.weight"],
                    &["self_attention.dense.weight"],
                    &["dense_h_to_4h.weight"],
                    &["dense_4h_to_h.weight"],
                ];
                let blocks = 0..c.n_layer;
                blocks.map(|i| sizes.block(i, Source, layers)).collect()
            }
            Config::Llama(c) => {
                let sizes = Sizes {
                    hidden: c.hidden_size,
                    // Keys and values are repeated to as many heads as queries have.
                    width: c.num_attention_heads * c.width(),
                    heads: c.num_attention_heads,
                    inner: c.intermediate_size,
                    feed_forward: feed_forward(c.hidden_act, c.intermediate_size, true),
                    gated: true,
                    pre_norm: true,
                    bias_heads: 1,
                };
                let layers: [&[&str]; 4] = [
                    &["q_proj.weight", "k_proj.weight", "v_proj.weight"],
                    &["o_proj.weight"],
                    &["gate_proj.weight", "up_proj.weight"],
                    &["down_proj.weight"],
                ];
                let blocks = 0..c.num_hidden_layers;
                blocks.map(|i| sizes.block(i, Source, layers)).collect()
            }
            Config::T5(c) => {
                let ffn = c.feed_forward_proj;
                let sizes = Sizes {
                    hidden: c.d_model,
                    width: c.inner(),
                    heads: c.num_heads,
                    inner: c.d_ff,
                    feed_forward: feed_forward(ffn.activation, c.d_ff, ffn.gated),
                    gated: ffn.gated,
                    pre_norm: true,
                    bias_heads: c.num_heads,
                };
                let layers: [&[&str]; 4] = [
                    &[
                        "SelfAttention.q.weight",
                        "SelfAttention.k.weight",
                        "SelfAttention.v.weight",
                    ],
                    &["SelfAttention.o.weight"],
                    &["wi.weight", "wi_0.weight", "wi_1.weight"],
                    &["wo.weight"],
                ];
                let encoder = (0..c.num_layers).map(|i| sizes.block(i, Source, layers));
                let decoder = (0..c.decoder_layers()).map(|i| {
                    let mut block = sizes.block(c.num_layers + i, Target, layers);
                    block.kept += sizes.hidden + sizes.width;
                    block.kept_of_source = 2 * sizes.width;
                    block.attentions.push((sizes.heads, Source));
                    let input = |layers, width| Input {
                        layers,
                        width,
                        tokens: Target,
                    };
                    block
                        .inputs
                        .push(input(&["EncDecAttention.q.weight"], sizes.hidden));
                    block
                        .inputs
                        .push(input(&["EncDecAttention.o.weight"], sizes.width));
                    block
                });
                encoder.chain(decoder).collect()
            }
        }
    }
}
