//! What deltas do at one attach point, in the order of the forward pass.

use apet_kernels::SparseIndex;
use burn::Tensor;

/// A function of states.
pub type StateHook<'a> = Box<dyn Fn(Tensor<2>) -> Tensor<2> + 'a>;
/// A function of a layer's input and what the layer has computed so far.
pub type LayerHook<'a> = Box<dyn Fn(&Tensor<2>, Tensor<2>) -> Tensor<2> + 'a>;
/// A function of a layer's input and its frozen weight, in the place of their product.
pub type ProductHook<'a> = Box<dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2> + 'a>;

/// What deltas do at one attach point. A linear layer with input x and weight W computes
/// `outputs(additions(x, product(inputs(x), tensor(W)) + bias))`.
#[derive(Default)]
pub struct PointHooks<'a> {
    /// A tensor in the place of the site's, flat.
    pub tensor: Option<&'a Tensor<1>>,
    /// Change a layer's input: x `[tokens, in]`, shape kept.
    pub inputs: Vec<StateHook<'a>>,
    /// In the place of a layer's product, without its bias: x `[tokens, in]`, W `[out, in]` to
    /// `[tokens, out]`.
    pub product: Option<ProductHook<'a>>,
    /// Sparse deltas: values, positions. The first one is one operation with the layer.
    pub sparse: Vec<(&'a Tensor<1>, &'a SparseIndex)>,
    /// Biases that are added to the layer's own, `[out]`.
    pub biases: Vec<&'a Tensor<1>>,
    /// Add to a layer's output: x `[tokens, in]`, y `[tokens, out]`, shape of y kept.
    pub additions: Vec<LayerHook<'a>>,
    /// Change a layer's output, with all that was added: y `[tokens, out]`, shape kept.
    pub outputs: Vec<StateHook<'a>>,
    /// Between two sub-layers: h `[tokens, width]`, shape kept.
    pub plugs: Vec<StateHook<'a>>,
    /// Virtual tokens, `[tokens, width]` each.
    pub prompts: Vec<Tensor<2>>,
    /// Class scores of pooled states: `[batch, hidden]` to `[batch, classes]`.
    pub head: Option<StateHook<'a>>,
}

impl std::fmt::Debug for PointHooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PointHooks").finish_non_exhaustive()
    }
}
