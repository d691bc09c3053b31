//! Activations by the names of config.json.

use apet_checkpoint::Activation;
use apet_kernels::{gelu, gelu_tanh};
use burn::{Tensor, tensor::activation};

/// x through an activation, shape kept.
pub(crate) fn activate(kind: Activation, x: Tensor<2>) -> Tensor<2> {
    match kind {
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::Relu => activation::relu(x),
        Activation::Silu => activation::silu(x),
    }
}
