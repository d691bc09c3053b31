//! LayerNorm and RMSNorm, with scale and bias, as one operation. Only its input is kept for the
//! gradients: recomputing a row's mean and deviation costs less than keeping them.

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
        tensor::FloatTensor,
    },
    tensor::{DType, Shape},
};
use burn_backend::{AutodiffBackend, TensorMetadata, ops::FloatTensorOps};
use burn_cubecl::CubeBackend;

use crate::{
    flex::{Floats, map_rows, row_width, sum_rows, zeros_like},
    math::{dot_from, squares, sum},
    rows,
};

/// The kind of normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether the mean is subtracted (LayerNorm) or treated as 0 (RMSNorm; Zhang and Sennrich, 2019).
    pub centered: bool,
}

/// A backend's norms on primitives: x `[rows, width]`, scale and bias `[width]`; x̂ = (x - mean) r,
/// r = 1 / sqrt(variance + epsilon) over the last axis. Use [`norm`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait Norms: Backend {
    /// x̂ scale + bias; without bias unless `biased`.
    fn norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Normalization,
        biased: bool,
    ) -> FloatTensor<Self>;

    /// r (g - mean(g) - x̂ mean(g x̂)) with g = dy scale; without mean(g) unless centered.
    fn norm_dx(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self>;

    /// The sum of dy x̂ over the rows, `[width]`.
    fn norm_dscale(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self>;

    /// The sum over the rows: `[rows, width]` to `[width]`.
    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// LayerNorm or RMSNorm: x `[rows, width]`, scale and bias `[width]`; shape of x.
pub fn norm(
    x: Tensor<2>,
    scale: Tensor<1>,
    bias: Option<Tensor<1>>,
    kind: Normalization,
) -> Tensor<2> {
    let biased = bias.is_some();
    // Without a bias, the scale is passed in its place and not read.
    let bias = bias.unwrap_or_else(|| scale.clone());
    let [scale, bias] = [scale, bias].map(|vector| vector.into_dispatch());
    let y = <Dispatch as Norms>::norm(x.into_dispatch(), scale, bias, kind, biased);
    Tensor::from_dispatch(y)
}

impl Norms for CubeBackend {
    fn norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Normalization,
        biased: bool,
    ) -> FloatTensor<Self> {
        rows::norm(x, scale, bias, kind, biased)
    }

    fn norm_dx(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self> {
        rows::norm_dx(x, scale, dy, kind)
    }

    fn norm_dscale(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self> {
        let one = Self::float_ones(Shape::from([x.shape()[1]]), &x.device(), DType::F32.into());
        let normalized = rows::norm(x, one.clone(), one, kind, false);
        rows::column_sums(Self::float_mul(dy, normalized))
    }

    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        rows::column_sums(x)
    }
}

impl Norms for Flex {
    fn norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Normalization,
        biased: bool,
    ) -> FloatTensor<Self> {
        let (width, y) = (row_width(&x), zeros_like(&x));
        let [x, scale, bias] = [x, scale, bias].map(Floats::new);
        let [x, scale, bias] = [x.get(), scale.get(), bias.get()];
        map_rows(
            y,
            width,
            #[inline(always)]
            |i, y| {
                let x = &x[i * width..][..width];
                let row = RowMoments::new(x, kind);
                for ((y, &x), &s) in y.iter_mut().zip(x).zip(scale) {
                    *y = row.normalize(x) * s;
                }
                if biased {
                    for (y, &b) in y.iter_mut().zip(bias) {
                        *y += b;
                    }
                }
            },
        )
    }

    fn norm_dx(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self> {
        let width = row_width(&x);
        let [x, scale] = [x, scale].map(Floats::new);
        let [x, scale] = [x.get(), scale.get()];
        map_rows(
            dy,
            width,
            #[inline(always)]
            |i, dy| {
                let x = &x[i * width..][..width];
                let row = RowMoments::new(x, kind);
                for (g, &s) in dy.iter_mut().zip(scale) {
                    *g *= s;
                }
                let share = 1.0 / width as f32;
                let total = sum(dy);
                let slope = dot_from(dy, x, row.mean) * row.r * share;
                let mean = if kind.centered { total * share } else { 0.0 };
                for (g, &x) in dy.iter_mut().zip(x) {
                    *g = (*g - mean - row.normalize(x) * slope) * row.r;
                }
            },
        )
    }

    fn norm_dscale(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self> {
        let width = row_width(&x);
        let [x, dy] = [x, dy].map(Floats::new);
        let [x, dy] = [x.get(), dy.get()];
        sum_rows(
            dy.len() / width,
            width,
            #[inline(always)]
            |i, sums| {
                let [x, dy] = [x, dy].map(|all| &all[i * width..][..width]);
                let row = RowMoments::new(x, kind);
                for ((sum, &x), &dy) in sums.iter_mut().zip(x).zip(dy) {
                    *sum += row.normalize(x) * dy;
                }
            },
        )
    }

    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let width = row_width(&x);
        let x = Floats::new(x);
        let x = x.get();
        sum_rows(
            x.len() / width,
            width,
            #[inline(always)]
            |i, sums| {
                for (sum, &x) in sums.iter_mut().zip(&x[i * width..]) {
                    *sum += x;
                }
            },
        )
    }
}

/// The mean of a row, and its reciprocal deviation r.
#[derive(Clone, Copy)]
struct RowMoments {
    mean: f32,
    r: f32,
}

impl RowMoments {
    #[inline(always)]
    fn new(x: &[f32], kind: Normalization) -> Self {
        let share = 1.0 / x.len() as f32;
        let mean = if kind.centered { sum(x) * share } else { 0.0 };
        let variance = squares(x, mean) * share;
        Self {
            mean,
            r: 1.0 / (variance + kind.epsilon as f32).sqrt(),
        }
    }

    #[inline(always)]
    fn normalize(self, x: f32) -> f32 {
        (x - self.mean) * self.r
    }
}

impl<B: Backend + Norms, C: CheckpointStrategy> Norms for Autodiff<B, C> {
    fn norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Normalization,
        biased: bool,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Norm;
        impl<B: Backend + Norms> Backward<B, 3> for Norm {
            type State = (FloatTensor<B>, FloatTensor<B>, Normalization, bool);
            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, scale, kind, biased) = ops.state;
                let [of_x, of_scale, of_bias] = ops.parents;
                if let Some(node) = of_bias.filter(|_| biased) {
                    grads.register::<B>(node.id, B::column_sums(dy.clone()));
                }
                if let Some(node) = of_scale {
                    let dscale = B::norm_dscale(x.clone(), dy.clone(), kind);
                    grads.register::<B>(node.id, dscale);
                }
                if let Some(node) = of_x {
                    grads.register::<B>(node.id, B::norm_dx(x, scale, dy, kind));
                }
            }
        }
        let nodes = [x.node(), scale.node(), bias.node()];
        let [x, scale, bias] = [x, scale, bias].map(|tensor| tensor.into_primitive());
        let y = B::norm(x.clone(), scale.clone(), bias, kind, biased);
        match Norm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, scale, kind, biased), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    // Second derivatives are not supported, so the gradients are not tracked.
    fn norm_dx(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self> {
        let [x, scale, dy] = [x, scale, dy].map(|tensor| tensor.into_primitive());
        Self::from_inner(B::norm_dx(x, scale, dy, kind))
    }

    fn norm_dscale(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kind: Normalization,
    ) -> FloatTensor<Self> {
        let dscale = B::norm_dscale(x.into_primitive(), dy.into_primitive(), kind);
        Self::from_inner(dscale)
    }

    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::column_sums(x.into_primitive()))
    }
}
