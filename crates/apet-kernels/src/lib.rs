//! The operations APET needs beyond burn's own, each with its gradient:
//!
//! * [`sparse_linear`], [`sparse_embed`]: a sparse delta on a linear layer or a table,
//!   never densified (design decision 3);
//! * [`gelu`], [`gelu_tanh`], [`normalize`], [`rms_normalize`], [`softmax`], [`cross_entropy`]: with exact gradients that keep no more than they need.
//!   (burn's own GELU differentiates the tanh approximation on the Cube backends.)
//!
//! Each has a path for burn-flex (`cpu`, native and wasm) and one for CubeCL (every GPU);
//! the sparse ones also have WGSL in `shaders/`, used where CubeCL compiles to WGSL.

mod activation;
mod check;
mod flex;
mod linear;
mod loss;
mod sparse;

pub use activation::{gelu, gelu_tanh, normalize, rms_normalize, softmax};
pub use check::{Check, check};
pub use linear::{WIDE_NUMBERS, embed, linear};
pub use loss::cross_entropy;
pub use sparse::{
    Dims, KernelLanguage, SparseIndex, set_kernel_language, sparse_embed, sparse_linear,
};
