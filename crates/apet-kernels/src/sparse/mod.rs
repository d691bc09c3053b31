//! Sparse deltas: y + x Sᵀ for a matrix S of k values at fixed positions, and its gradients.
//!
//! | quantity | formula | cost |
//! |---|---|---|
//! | forward | y\[t, r\] + Σ over entries (r, c, v) of v · x\[t, c\] | O(k T) |
//! | dx | dx\[t, c\] = Σ over entries (r, c, v) of v · dy\[t, r\] | O(k T) |
//! | dv | dv\[e\] = Σ over t of x\[t, c_e\] · dy\[t, r_e\] | O(k T) |
//!
//! S has the layout of a Hugging Face weight: rows are outputs, columns are inputs.

mod autodiff;
mod cube;
mod flex;
mod index;
mod product;

use burn::{
    Tensor,
    backend::{
        Backend, Dispatch, backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Int,
};

pub use index::{Dims, SparseIndex};
pub use product::linear_with_sparse;

/// A backend's sparse operations on primitives. Use [`sparse_linear`] and [`sparse_embed`].
///
/// `index` is [`SparseIndex`]'s packed form, i32; all floats are f32.
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait SparseOps: Backend {
    /// `y + x Sᵀ`: y `[.., rows]`, x `[.., cols]`, values `[count]`.
    fn sparse_linear(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self>;

    /// `dy S`: the input's gradient, `[tokens, cols]`.
    fn sparse_linear_dx(
        dy: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self>;

    /// The gradient of the values, `[count]`.
    fn sparse_linear_dv(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self>;

    /// `y + S[ids]`: y `[.., cols]`, ids `[tokens]` i32, rows of S are the table's rows.
    fn sparse_embed(
        y: FloatTensor<Self>,
        values: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self>;

    /// The gradient of the values in [`SparseOps::sparse_embed`], `[count]`.
    fn sparse_embed_dv(
        dy: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self>;
}

/// Adds a sparse delta to a linear layer's output: `y + x Sᵀ`.
///
/// # Shapes
/// y `[.., rows]`, x `[.., cols]`, values `[count]`; result as y.
pub fn sparse_linear<const D: usize>(
    y: Tensor<D>,
    x: Tensor<D>,
    values: Tensor<1>,
    index: &SparseIndex,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as SparseOps>::sparse_linear(
        y.into_dispatch(),
        x.into_dispatch(),
        values.into_dispatch(),
        index.packed().into_dispatch(),
        index.dims(),
    ))
}

/// Adds a sparse delta to a table's looked-up rows: `y + S[ids]`.
///
/// # Shapes
/// y `[.., cols]`, values `[count]`, ids `[.., ]` with as many elements as y has rows, i32; result as y.
pub fn sparse_embed<const D: usize, const E: usize>(
    y: Tensor<D>,
    values: Tensor<1>,
    ids: Tensor<E, Int>,
    index: &SparseIndex,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as SparseOps>::sparse_embed(
        y.into_dispatch(),
        values.into_dispatch(),
        ids.into_dispatch(),
        index.packed().into_dispatch(),
        index.dims(),
    ))
}
