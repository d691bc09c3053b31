//! GELU with exact gradients. (On the Cube backends burn's gradient is that of the tanh form.)

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
use burn_backend::AutodiffBackend;
use burn_cubecl::CubeBackend;
use cubecl::prelude::*;

use crate::{
    cube::elementwise,
    flex::{map_chunks, zeros_like},
    math::{erf, exp, multiply_add},
};

/// A backend's operations on primitives. Use [`gelu`] and [`gelu_tanh`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait Gelu: Backend {
    /// x Φ(x), with the exact normal distribution Φ.
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// dy (Φ(x) + x φ(x)).
    fn exact_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// x σ(2z), z = c x (1 + a x²): GELU by the tanh form.
    fn tanh_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// dy (σ + x σ (1 - σ) 2c (1 + 3a x²)), σ = σ(2z).
    fn tanh_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// GELU with the exact normal distribution, transformers' `"gelu"`. The shape is kept.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Gelu>::exact_gelu(x.into_dispatch()))
}

/// GELU by the tanh form, transformers' `"gelu_new"`. The shape is kept. Computed as a sigmoid of a
/// bounded argument, because WGSL may compute tanh from two exponentials, which gives NaN for large values.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Gelu>::tanh_gelu(x.into_dispatch()))
}

/// 2 sqrt(2 / π)
const TWICE_C: f32 = 1.595_769;
const A: f32 = 0.044_715;
/// In f32, σ is 0 or 1 beyond this argument.
const FAR: f32 = 40.0;
/// 1 / sqrt(2 π)
const DENSITY_AT_0: f32 = 0.398_942_3;

/// Φ(x).
#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    multiply_add(0.5, erf(x * std::f32::consts::FRAC_1_SQRT_2), 0.5)
}

/// σ(2z), and d(2z)/dx.
#[inline(always)]
fn tanh_gate(x: f32) -> (f32, f32) {
    let square = x * x;
    let twice_z = (TWICE_C * x * (1.0 + A * square)).clamp(-FAR, FAR);
    let gate = 1.0 / (1.0 + exp(-twice_z));
    (gate, TWICE_C * (1.0 + 3.0 * A * square))
}

impl Gelu for Flex {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        map_chunks(
            zeros_like(&x),
            [x],
            #[inline(always)]
            |y, [x]| {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x * normal_cdf(x);
                }
            },
        )
    }

    fn exact_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        map_chunks(
            dy,
            [x],
            #[inline(always)]
            |dy, [x]| {
                for (dy, &x) in dy.iter_mut().zip(x) {
                    let density = DENSITY_AT_0 * exp(-0.5 * x * x);
                    *dy *= multiply_add(x, density, normal_cdf(x));
                }
            },
        )
    }

    fn tanh_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        map_chunks(
            zeros_like(&x),
            [x],
            #[inline(always)]
            |y, [x]| {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x * tanh_gate(x).0;
                }
            },
        )
    }

    fn tanh_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        map_chunks(
            dy,
            [x],
            #[inline(always)]
            |dy, [x]| {
                for (dy, &x) in dy.iter_mut().zip(x) {
                    let (gate, slope) = tanh_gate(x);
                    *dy *= gate + x * gate * (1.0 - gate) * slope;
                }
            },
        )
    }
}

impl Gelu for CubeBackend {
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

impl<B: Backend + Gelu, C: CheckpointStrategy> Gelu for Autodiff<B, C> {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct ExactGelu;
        impl<B: Backend + Gelu> Backward<B, 1> for ExactGelu {
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
        match ExactGelu
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful()
        {
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
        impl<B: Backend + Gelu> Backward<B, 1> for TanhGelu {
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

    // Second derivatives are not supported, so the gradients are not tracked.
    fn exact_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::exact_gelu_dx(x.into_primitive(), dy.into_primitive()))
    }

    fn tanh_gelu_dx(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::tanh_gelu_dx(x.into_primitive(), dy.into_primitive()))
    }
}
