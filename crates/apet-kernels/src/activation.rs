//! GELU, normalization and softmax with exact gradients that keep only what they need.
//!
//! Each has a body of burn operations for every backend; where one kernel does the
//! work of many, a backend has its own.

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
};
use burn_backend::{AutodiffBackend, TensorMetadata};
use burn_cubecl::{
    CubeBackend, kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use burn_flex::FlexTensor;
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::flex::{Floats, map_rows};

/// Activations of a backend, on primitives. Use [`gelu`], [`gelu_tanh`], [`normalize`], [`softmax`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait Activations: Backend {
    /// x Φ(x), with the exact normal distribution Φ.
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::gelu(x)
    }

    /// dy (Φ(x) + x φ(x)).
    fn exact_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::gelu_backward(x, dy)
    }

    /// x σ(2z), z = c x (1 + a x²): GELU by the tanh form.
    fn tanh_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// dy (σ + x σ (1 - σ) 2c (1 + 3a x²)), σ = σ(2z).
    fn tanh_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// (x - mean) / sqrt(variance + epsilon) over the last axis, and 1 / sqrt(variance + epsilon).
    /// Where not `center`ed, the mean is taken for 0.
    fn normalize(
        x: FloatTensor<Self>,
        epsilon: f64,
        center: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let last = x.shape().num_dims() - 1;
        let centered = if center {
            let mean = Self::float_mean_dim(x.clone(), last);
            Self::float_sub(x, mean)
        } else {
            x
        };
        let square = Self::float_mul(centered.clone(), centered.clone());
        let variance = Self::float_mean_dim(square, last);
        let root = Self::float_sqrt(Self::float_add_scalar(variance, epsilon.into()));
        let scale = Self::float_recip(root);
        (Self::float_mul(centered, scale.clone()), scale)
    }

    /// scale (dy - mean(dy) - x̂ mean(dy x̂)); without mean(dy) where not `center`ed.
    fn normalize_dx(
        normalized: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        center: bool,
    ) -> FloatTensor<Self> {
        let last = dy.shape().num_dims() - 1;
        let product = Self::float_mul(dy.clone(), normalized.clone());
        let slope = Self::float_mean_dim(product, last);
        let mut off = Self::float_mul(normalized, slope);
        if center {
            off = Self::float_add(off, Self::float_mean_dim(dy.clone(), last));
        }
        Self::float_mul(Self::float_sub(dy, off), scale)
    }

    /// exp(x) / Σ exp(x) over the last axis.
    fn last_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let last = x.shape().num_dims() - 1;
        Self::softmax(x, last)
    }

    /// y (dy - Σ dy y).
    fn last_softmax_dx(y: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let last = dy.shape().num_dims() - 1;
        let product = Self::float_mul(dy, y.clone());
        let sum = Self::float_sum_dim(product.clone(), last);
        Self::float_sub(product, Self::float_mul(y, sum))
    }
}

/// GELU with the exact normal distribution, transformers' `"gelu"`. Shape is kept.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Activations>::exact_gelu(x.into_dispatch()))
}

/// GELU by the tanh form, transformers' `"gelu_new"`. Shape is kept. By a sigmoid of what is
/// bounded: WGSL may make a tanh of two exponentials, which is no number for large values.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Activations>::tanh_gelu(x.into_dispatch()))
}

/// Normalizes over the last axis to mean 0 and variance 1 (LayerNorm without scale and bias).
pub fn normalize<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let (y, _) = <Dispatch as Activations>::normalize(x.into_dispatch(), epsilon, true);
    Tensor::from_dispatch(y)
}

/// Divides by the root of the mean square over the last axis (RMSNorm without scale;
/// Zhang and Sennrich, 2019).
pub fn rms_normalize<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let (y, _) = <Dispatch as Activations>::normalize(x.into_dispatch(), epsilon, false);
    Tensor::from_dispatch(y)
}

/// Softmax over the last axis.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Activations>::last_softmax(x.into_dispatch()))
}

/// 2 sqrt(2 / π)
const TWICE_C: f32 = 1.595_769;
const A: f32 = 0.044_715;
/// σ is 0 or 1 in f32 from here on.
const FAR: f32 = 40.0;

/// σ(2z), and d(2z)/dx.
fn tanh_gate(x: f32) -> (f32, f32) {
    let square = x * x;
    let twice_z = (TWICE_C * x * (1.0 + A * square)).clamp(-FAR, FAR);
    let gate = 1.0 / (1.0 + (-twice_z).exp());
    (gate, TWICE_C * (1.0 + 3.0 * A * square))
}

// burn-flex differentiates the exact GELU, so the bodies above fit.
impl Activations for Flex {
    fn tanh_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let width = row_width(&x);
        map_rows(x, width, |_, row| {
            row.iter_mut().for_each(|x| *x *= tanh_gate(*x).0);
        })
    }

    fn tanh_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let width = row_width(&dy);
        let x = Floats::new(x);
        let x = x.get();
        map_rows(dy, width, |row, dy| {
            for (dy, &x) in dy.iter_mut().zip(&x[row * width..]) {
                let (gate, slope) = tanh_gate(x);
                *dy *= gate + x * gate * (1.0 - gate) * slope;
            }
        })
    }
}

/// Width of the last axis.
fn row_width(x: &FlexTensor) -> usize {
    x.shape().last().copied().unwrap_or(1).max(1)
}

// burn's gelu_backward is the derivative of the tanh approximation here.
impl Activations for CubeBackend {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        elementwise([x], |client, count, dim, [x], y, size| {
            gelu_kernel::launch(client, count, dim, x, y, size);
        })
    }

    fn exact_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        elementwise([x, dy], |client, count, dim, [x, dy], dx, size| {
            gelu_dx_kernel::launch(client, count, dim, x, dy, dx, size);
        })
    }

    fn tanh_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        elementwise([x], |client, count, dim, [x], y, size| {
            tanh_gelu_kernel::launch(client, count, dim, x, y, size);
        })
    }

    fn tanh_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        elementwise([x, dy], |client, count, dim, [x, dy], dx, size| {
            tanh_gelu_dx_kernel::launch(client, count, dim, x, dy, dx, size);
        })
    }
}

/// Launches a kernel with one thread for each element of its first input, into a new
/// tensor of that shape.
pub(crate) fn elementwise<const N: usize>(
    inputs: [CubeTensor; N],
    launch: impl FnOnce(&cubecl::client::Client, CubeCount, CubeDim, [BufferArg; N], BufferArg, usize),
) -> CubeTensor {
    let inputs = inputs.map(into_contiguous);
    let first = &inputs[0];
    let (client, shape) = (first.client.clone(), first.shape());
    let size = shape.num_elements();
    let out =
        empty_device_contiguous_dtype(client.clone(), first.device.clone(), shape, first.dtype);
    let dim = CubeDim::new(&client, size);
    let count = calculate_cube_count_elemwise(&client, size, dim);
    let arguments = inputs.map(CubeTensor::into_buffer_arg);
    launch(
        &client,
        count,
        dim,
        arguments,
        out.clone().into_buffer_arg(),
        size,
    );
    out
}

#[cube(launch)]
fn tanh_gelu_kernel(x: &[f32], y: &mut [f32], size: usize) {
    if ABSOLUTE_POS < size {
        let v = x[ABSOLUTE_POS];
        let z = 1.595_769f32 * v * (1.0f32 + 0.044_715f32 * v * v);
        let z = z.clamp(-40.0f32, 40.0f32);
        y[ABSOLUTE_POS] = v / (1.0f32 + Exp::exp(-z));
    }
}

#[cube(launch)]
fn tanh_gelu_dx_kernel(x: &[f32], dy: &[f32], dx: &mut [f32], size: usize) {
    if ABSOLUTE_POS < size {
        let v = x[ABSOLUTE_POS];
        let z = 1.595_769f32 * v * (1.0f32 + 0.044_715f32 * v * v);
        let z = z.clamp(-40.0f32, 40.0f32);
        let gate = 1.0f32 / (1.0f32 + Exp::exp(-z));
        let slope = 1.595_769f32 * (1.0f32 + 3.0f32 * 0.044_715f32 * v * v);
        dx[ABSOLUTE_POS] = dy[ABSOLUTE_POS] * (gate + v * gate * (1.0f32 - gate) * slope);
    }
}

#[cube(launch)]
fn gelu_kernel(x: &[f32], y: &mut [f32], size: usize) {
    if ABSOLUTE_POS < size {
        let v = x[ABSOLUTE_POS];
        y[ABSOLUTE_POS] = 0.5f32 * v * (1.0f32 + Erf::erf(v * 0.707_106_77f32));
    }
}

#[cube(launch)]
fn gelu_dx_kernel(x: &[f32], dy: &[f32], dx: &mut [f32], size: usize) {
    if ABSOLUTE_POS < size {
        let v = x[ABSOLUTE_POS];
        let below = 0.5f32 * (1.0f32 + Erf::erf(v * 0.707_106_77f32));
        let density = 0.398_942_3f32 * Exp::exp(-0.5f32 * v * v);
        dx[ABSOLUTE_POS] = dy[ABSOLUTE_POS] * (below + v * density);
    }
}

impl<B: Backend + Activations, C: CheckpointStrategy> Activations for Autodiff<B, C> {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Gelu;
        impl<B: Backend + Activations> Backward<B, 1> for Gelu {
            type State = FloatTensor<B>;
            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                if let [Some(node)] = ops.parents {
                    grads.register::<B>(node.id, B::exact_gelu_dx(ops.state, dy));
                }
            }
        }
        match Gelu.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                let y = B::exact_gelu(x.clone());
                prep.finish(x, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::exact_gelu(x.into_primitive())),
        }
    }

    fn tanh_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct TanhGelu;
        impl<B: Backend + Activations> Backward<B, 1> for TanhGelu {
            type State = FloatTensor<B>;
            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                if let [Some(node)] = ops.parents {
                    grads.register::<B>(node.id, B::tanh_gelu_dx(ops.state, dy));
                }
            }
        }
        match TanhGelu.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                let y = B::tanh_gelu(x.clone());
                prep.finish(x, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::tanh_gelu(x.into_primitive())),
        }
    }

    fn normalize(
        x: FloatTensor<Self>,
        epsilon: f64,
        center: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct Normalize;
        impl<B: Backend + Activations> Backward<B, 1> for Normalize {
            type State = (FloatTensor<B>, FloatTensor<B>, bool);
            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let (normalized, scale, center) = ops.state;
                if let [Some(node)] = ops.parents {
                    let dx = B::normalize_dx(normalized, scale, dy, center);
                    grads.register::<B>(node.id, dx);
                }
            }
        }
        // The scale is a by-product for the gradient; it enters no graph.
        match Normalize
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (y, scale) = B::normalize(x.into_primitive(), epsilon, center);
                let y = prep.finish((y.clone(), scale.clone(), center), y);
                (y, Self::from_inner(scale))
            }
            OpsKind::UnTracked(prep) => {
                let (y, scale) = B::normalize(x.into_primitive(), epsilon, center);
                (prep.finish(y), Self::from_inner(scale))
            }
        }
    }

    fn last_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Softmax;
        impl<B: Backend + Activations> Backward<B, 1> for Softmax {
            type State = FloatTensor<B>;
            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                if let [Some(node)] = ops.parents {
                    grads.register::<B>(node.id, B::last_softmax_dx(ops.state, dy));
                }
            }
        }
        match Softmax.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::last_softmax(x.into_primitive());
                prep.finish(y.clone(), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::last_softmax(x.into_primitive())),
        }
    }

    // The gradients themselves are not differentiated: they enter no graph.
    fn tanh_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::tanh_gelu_dx(x.into_primitive(), dy.into_primitive()))
    }

    fn exact_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::exact_gelu_dx(x.into_primitive(), dy.into_primitive()))
    }

    fn normalize_dx(
        normalized: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        center: bool,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::normalize_dx(
            normalized.into_primitive(),
            scale.into_primitive(),
            dy.into_primitive(),
            center,
        ))
    }

    fn last_softmax_dx(y: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::last_softmax_dx(y.into_primitive(), dy.into_primitive()))
    }
}
