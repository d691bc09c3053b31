//! Gradients of the sparse operations: dx and dv are separate operations, so
//! that no dense weight gradient ever exists.

use burn::backend::{
    Autodiff, Backend,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{FloatTensor, IntTensor},
};
use burn_backend::{AutodiffBackend, TensorMetadata};

use super::{Dims, SparseOps};

impl<B: Backend + SparseOps, C: CheckpointStrategy> SparseOps for Autodiff<B, C> {
    fn sparse_linear(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct SparseLinear;

        impl<B: Backend + SparseOps> Backward<B, 3> for SparseLinear {
            type State = (FloatTensor<B>, FloatTensor<B>, IntTensor<B>, Dims);

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let [node_y, node_x, node_values] = ops.parents;
                let dy = grads.consume::<B>(&ops.node);
                let (x, values, index, dims) = ops.state;
                if let Some(node) = node_x {
                    let shape = x.shape();
                    let dx = B::sparse_linear_dx(dy.clone(), values, index.clone(), dims);
                    grads.register::<B>(node.id, B::float_reshape(dx, shape));
                }
                if let Some(node) = node_values {
                    grads.register::<B>(node.id, B::sparse_linear_dv(x, dy.clone(), index, dims));
                }
                if let Some(node) = node_y {
                    grads.register::<B>(node.id, dy);
                }
            }
        }

        match SparseLinear
            .prepare::<C>([y.node(), x.node(), values.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let y = y.into_primitive();
                let x = x.into_primitive();
                let values = values.into_primitive();
                let out = B::sparse_linear(y, x.clone(), values.clone(), index.clone(), dims);
                prep.finish((x, values, index, dims), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::sparse_linear(
                y.into_primitive(),
                x.into_primitive(),
                values.into_primitive(),
                index,
                dims,
            )),
        }
    }

    fn sparse_embed(
        y: FloatTensor<Self>,
        values: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct SparseEmbed;

        impl<B: Backend + SparseOps> Backward<B, 2> for SparseEmbed {
            type State = (IntTensor<B>, IntTensor<B>, Dims);

            fn backward(
                self,
                ops: Ops<Self::State, 2>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let [node_y, node_values] = ops.parents;
                let dy = grads.consume::<B>(&ops.node);
                let (ids, index, dims) = ops.state;
                if let Some(node) = node_values {
                    let dv = B::sparse_embed_dv(dy.clone(), ids, index, dims);
                    grads.register::<B>(node.id, dv);
                }
                if let Some(node) = node_y {
                    grads.register::<B>(node.id, dy);
                }
            }
        }

        match SparseEmbed
            .prepare::<C>([y.node(), values.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (y, values) = (y.into_primitive(), values.into_primitive());
                let out = B::sparse_embed(y, values, ids.clone(), index.clone(), dims);
                prep.finish((ids, index, dims), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::sparse_embed(
                y.into_primitive(),
                values.into_primitive(),
                ids,
                index,
                dims,
            )),
        }
    }

    // Second derivatives are not supported, so the gradients are not tracked.
    fn sparse_linear_dx(
        dy: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let (dy, values) = (dy.into_primitive(), values.into_primitive());
        Self::from_inner(B::sparse_linear_dx(dy, values, index, dims))
    }

    fn sparse_linear_dv(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let (x, dy) = (x.into_primitive(), dy.into_primitive());
        Self::from_inner(B::sparse_linear_dv(x, dy, index, dims))
    }

    fn sparse_embed_dv(
        dy: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::sparse_embed_dv(dy.into_primitive(), ids, index, dims))
    }
}
