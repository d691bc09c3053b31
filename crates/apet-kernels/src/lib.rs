//! The operations APET needs beyond burn's own, each with its gradient:
//!
//! * [`linear_with_sparse`], [`sparse_linear`], [`sparse_embed`]: a sparse delta on a linear layer or a table,
//!   never made dense (ARCHITECTURE.md, Methods);
//! * [`linear`], [`norm`], [`attention`], [`gelu`], [`gelu_tanh`], [`cross_entropy`]: a whole layer as one
//!   operation, with exact gradients that keep only what they need.
//!
//! Each has a path for burn-flex (`cpu`, native and wasm) and one for CubeCL (every GPU);
//! the sparse ones also have WGSL in `shaders/`, used where CubeCL compiles to WGSL.

mod adamw;
mod attention;
mod check;
mod cube;
mod flex;
mod gelu;
mod linear;
mod loss;
mod math;
mod multiply;
mod norm;
mod rows;
mod sparse;

pub use adamw::{Update, adamw, norm_of};
pub use attention::attention;
pub use check::{Check, check};
pub use cube::{KernelLanguage, set_kernel_language};
pub use gelu::{gelu, gelu_tanh};
pub use linear::{WIDE_NUMBERS, embed, linear};
pub use loss::cross_entropy;
pub use multiply::set_software_adapter;
pub use norm::{Normalization, norm};
pub use sparse::{Dims, SparseIndex, linear_with_sparse, sparse_embed, sparse_linear};
