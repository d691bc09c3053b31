//! A linear layer with a sparse delta on its weight, as one operation: x (W + S)ᵀ + bias.
//!
//! As a separate operation, the delta's part of dx would be another tensor to add; here it is added in place.
//! If reading the values of S costs more than a dense product, W + S is computed, and dv is read from
//! dyᵀ x, so a step never costs more than training all of W.

use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
};
use burn_backend::AutodiffBackend;
use burn_cubecl::CubeBackend;

use super::{Dims, SparseIndex, SparseOps};
use crate::{linear::Products, norm::Norms};

/// A backend's operation on primitives; shapes as in [`Products`] and [`SparseOps`].
/// Use [`linear_with_sparse`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait SparseProducts: Backend + Products + SparseOps {
    /// x (W + S)ᵀ + bias, without bias unless `biased`.
    fn sparse_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biased: bool,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let y = Self::product(x.clone(), weight, bias, biased);
        Self::sparse_linear(y, x, values, index, dims)
    }

    /// dy (W + S).
    fn sparse_product_dx(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let dx = Self::product_dx(dy.clone(), weight);
        Self::float_add(dx, Self::sparse_linear_dx(dy, values, index, dims))
    }

    /// The gradient of the values.
    fn sparse_product_dv(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        Self::sparse_linear_dv(x, dy, index, dims)
    }
}

/// x (W + S)ᵀ + bias.
///
/// # Shapes
/// x `[tokens, in]` f32, weight `[out, in]` f32, f16 or bf16, bias `[out]`, values `[count]`; result
/// `[tokens, out]` f32.
pub fn linear_with_sparse(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    values: Tensor<1>,
    index: &SparseIndex,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let biased = bias.is_some();
    // Without a bias, the weight is passed in its place and not read.
    let bias = bias.map_or_else(|| weight.clone(), |bias| bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as SparseProducts>::sparse_product(
        x,
        weight,
        bias,
        biased,
        values.into_dispatch(),
        index.packed().into_dispatch(),
        index.dims(),
    ))
}

impl SparseProducts for CubeBackend {}

impl<B, C> SparseProducts for Autodiff<B, C>
where
    B: Backend + SparseProducts + Norms,
    C: CheckpointStrategy,
{
    fn sparse_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biased: bool,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct SparseProduct;
        impl<B: Backend + SparseProducts + Norms> Backward<B, 4> for SparseProduct {
            /// x, W and the values, the index, and whether there is a bias.
            type State = ([FloatTensor<B>; 3], IntTensor<B>, Dims, bool);
            fn backward(
                self,
                ops: Ops<Self::State, 4>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let ([x, weight, values], index, dims, biased) = ops.state;
                let [of_x, of_weight, of_bias, of_values] = ops.parents;
                if let Some(node) = of_bias.filter(|_| biased) {
                    grads.register::<B>(node.id, B::column_sums(dy.clone()));
                }
                if let Some(node) = of_weight {
                    grads.register::<B>(node.id, B::product_dw(x.clone(), dy.clone()));
                }
                if let Some(node) = of_values {
                    let dv = B::sparse_product_dv(x, dy.clone(), index.clone(), dims);
                    grads.register::<B>(node.id, dv);
                }
                if let Some(node) = of_x {
                    let dx = B::sparse_product_dx(dy, weight, values, index, dims);
                    grads.register::<B>(node.id, dx);
                }
            }
        }
        let nodes = [x.node(), weight.node(), bias.node(), values.node()];
        let [x, weight, bias, values] =
            [x, weight, bias, values].map(|tensor| tensor.into_primitive());
        let kept = [x.clone(), weight.clone(), values.clone()];
        let y = B::sparse_product(x, weight, bias, biased, values, index.clone(), dims);
        match SparseProduct.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((kept, index, dims, biased), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    // Second derivatives are not supported, so the gradients are not tracked.
    fn sparse_product_dx(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let [dy, weight, values] = [dy, weight, values].map(|tensor| tensor.into_primitive());
        Self::from_inner(B::sparse_product_dx(dy, weight, values, index, dims))
    }

    fn sparse_product_dv(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let [x, dy] = [x, dy].map(|tensor| tensor.into_primitive());
        Self::from_inner(B::sparse_product_dv(x, dy, index, dims))
    }
}
