//! Cross-entropy with the gradient softmax - one-hot, without a one-hot matrix and without scatter
//! (which runs in one thread on WebGPU).

use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{Int, Shape},
};
use burn_backend::{AutodiffBackend, TensorMetadata};
use burn_cubecl::CubeBackend;
use cubecl::prelude::*;

use crate::{
    cube::elementwise,
    flex::{Floats, Ints, map_rows, zeros},
    math::{exp, exponentials, maximum},
};

/// A backend's operations on primitives. Use [`cross_entropy`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait Losses: Backend {
    /// -log softmax(logits)\[target\] of each row, and log Σ exp(logits): logits
    /// `[rows, classes]`, targets `[rows]` i32; both results `[rows, 1]`.
    fn row_cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let rows = logits.shape()[0];
        let largest = Self::float_max_dim(logits.clone(), 1);
        let shifted = Self::float_exp(Self::float_sub(logits.clone(), largest.clone()));
        let norm = Self::float_log(Self::float_sum_dim(shifted, 1));
        let norm = Self::float_add(norm, largest);
        let targets = Self::int_reshape(targets, Shape::from([rows, 1]));
        let chosen = Self::float_gather(1, logits, targets);
        (Self::float_sub(norm.clone(), chosen), norm)
    }

    /// dy (softmax(logits) - one-hot(target)): `[rows, classes]`, from `norm` and dy `[rows, 1]`.
    fn row_cross_entropy_dx(
        logits: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        targets: IntTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Cross-entropy of each row in nats.
///
/// # Shapes
/// logits `[rows, classes]`, targets `[rows]` i32, each below `classes`; result `[rows]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let (loss, _) =
        <Dispatch as Losses>::row_cross_entropy(logits.into_dispatch(), targets.into_dispatch());
    Tensor::<2>::from_dispatch(loss).reshape([rows])
}

impl Losses for Flex {
    fn row_cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let shape = Shape::from([logits.shape()[0], 1]);
        let classes = logits.shape()[1];
        let (logits, targets) = (Floats::new(logits), Ints::new(targets));
        let (logits, targets) = (logits.get(), targets.get());
        let norm = map_rows(
            zeros(shape),
            1,
            #[inline(always)]
            |row, norm| {
                let logits = &logits[row * classes..][..classes];
                let middle = maximum(logits);
                norm[0] = middle + exponentials(logits, middle).ln();
            },
        );
        let loss = map_rows(norm.clone(), 1, |row, loss| {
            loss[0] -= logits[row * classes + targets[row] as usize];
        });
        (loss, norm)
    }

    fn row_cross_entropy_dx(
        logits: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        targets: IntTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let shape = logits.shape();
        let classes = shape[1];
        let (logits, norm) = (Floats::new(logits), Floats::new(norm));
        let (targets, dy) = (Ints::new(targets), Floats::new(dy));
        let (logits, norm, targets, dy) = (logits.get(), norm.get(), targets.get(), dy.get());
        map_rows(
            zeros(shape),
            classes,
            #[inline(always)]
            |row, dx| {
                let logits = &logits[row * classes..][..classes];
                for (dx, logit) in dx.iter_mut().zip(logits) {
                    *dx = dy[row] * exp(logit - norm[row]);
                }
                dx[targets[row] as usize] -= dy[row];
            },
        )
    }
}

impl Losses for CubeBackend {
    fn row_cross_entropy_dx(
        logits: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        targets: IntTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let classes = logits.shape()[1];
        let inputs = [logits, norm, targets, dy];
        elementwise(
            inputs,
            |client, count, dim, [logits, norm, targets, dy], dx, size| {
                dx_kernel::launch(
                    client, count, dim, logits, norm, targets, dy, dx, size, classes,
                );
            },
        )
    }
}

#[cube(launch)]
fn dx_kernel(
    logits: &[f32],
    norm: &[f32],
    targets: &[i32],
    dy: &[f32],
    dx: &mut [f32],
    size: usize,
    classes: usize,
) {
    if ABSOLUTE_POS < size {
        let row = ABSOLUTE_POS / classes;
        let class = ABSOLUTE_POS % classes;
        let mut share = Exp::exp(logits[ABSOLUTE_POS] - norm[row]);
        if targets[row] == class as i32 {
            share -= 1.0f32;
        }
        dx[ABSOLUTE_POS] = dy[row] * share;
    }
}

impl<B: Backend + Losses, C: CheckpointStrategy> Losses for Autodiff<B, C> {
    fn row_cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct CrossEntropy;
        impl<B: Backend + Losses> Backward<B, 1> for CrossEntropy {
            type State = (FloatTensor<B>, FloatTensor<B>, IntTensor<B>);
            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let (logits, norm, targets) = ops.state;
                if let [Some(node)] = ops.parents {
                    let dx = B::row_cross_entropy_dx(logits, norm, targets, dy);
                    grads.register::<B>(node.id, dx);
                }
            }
        }
        // The norm is a by-product for the gradient and is not tracked.
        match CrossEntropy
            .prepare::<C>([logits.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let logits = logits.into_primitive();
                let (loss, norm) = B::row_cross_entropy(logits.clone(), targets.clone());
                let loss = prep.finish((logits, norm.clone(), targets), loss);
                (loss, Self::from_inner(norm))
            }
            OpsKind::UnTracked(prep) => {
                let (loss, norm) = B::row_cross_entropy(logits.into_primitive(), targets);
                (prep.finish(loss), Self::from_inner(norm))
            }
        }
    }

    // Second derivatives are not supported, so the gradient is not tracked.
    fn row_cross_entropy_dx(
        logits: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        targets: IntTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::row_cross_entropy_dx(
            logits.into_primitive(),
            norm.into_primitive(),
            targets,
            dy.into_primitive(),
        ))
    }
}
