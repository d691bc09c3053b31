//! Products with frozen weights, which may be stored in half precision: what goes in
//! and comes out is f32.
//!
//! A product of few rows (generation, a token at a time) reads every weight once and does
//! little with it: there `cpu` has a path of its own, on all cores, that neither packs
//! the weights nor makes f32 of them in memory.

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
    tensor::{DType, Int, Shape, Slice},
};
use burn_backend::{AutodiffBackend, TensorMetadata, ops::FloatTensorOps};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use pulp::{Arch, Simd, WithSimd};

use crate::flex::Floats;

/// Up to so many rows the weights' way from memory is what counts.
const FEW: usize = 16;
/// Numbers of a half-precision weight that are f32 at once: 16 MiB.
pub const WIDE_NUMBERS: usize = 1 << 22;
/// Rows of a weight that a thread takes at once.
const CHUNK: usize = 64;

/// Products of a backend, on primitives. Use [`linear`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait Products: Backend {
    /// x Wᵀ: x `[rows, in]` f32, weight `[out, in]`; result `[rows, out]` f32.
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let dtype = weight.dtype();
        let weight = Self::float_transpose(weight);
        if dtype == DType::F32 {
            return Self::float_matmul(x, weight);
        }
        let x = Self::float_cast(x, dtype.into());
        Self::float_cast(Self::float_matmul(x, weight), DType::F32.into())
    }

    /// The gradient of its x: dy `[rows, out]` f32, weight `[out, in]`; result `[rows, in]` f32.
    fn product_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let dtype = weight.dtype();
        if dtype == DType::F32 {
            return Self::float_matmul(dy, weight);
        }
        let dy = Self::float_cast(dy, dtype.into());
        Self::float_cast(Self::float_matmul(dy, weight), DType::F32.into())
    }
}

/// x Wᵀ: x `[tokens, in]` f32, weight `[out, in]` f32, f16 or bf16; result `[tokens, out]` f32.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let y = <Dispatch as Products>::product(x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(y)
}

/// Rows of a table: table `[rows, width]` f32, f16 or bf16, ids `[tokens]`; result
/// `[tokens, width]` f32.
pub fn embed(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    let rows = table.select(0, ids);
    if rows.dtype() == DType::F32 {
        return rows;
    }
    rows.cast(DType::F32)
}

impl Products for CubeBackend {}

impl<B: Backend + Products, C: CheckpointStrategy> Products for Autodiff<B, C> {
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct FrozenLinear;
        impl<B: Backend + Products> Backward<B, 1> for FrozenLinear {
            type State = FloatTensor<B>;
            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                if let [Some(node)] = ops.parents {
                    grads.register::<B>(node.id, B::product_dx(dy, ops.state));
                }
            }
        }
        if weight.is_tracked() {
            // A weight that is tuned is f32: operations that have both gradients.
            return Self::float_matmul(x, Self::float_transpose(weight));
        }
        let weight = weight.into_primitive();
        match FrozenLinear
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let y = B::product(x.into_primitive(), weight.clone());
                prep.finish(weight, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::product(x.into_primitive(), weight)),
        }
    }

    // The gradient itself is not differentiated: it enters no graph.
    fn product_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::product_dx(dy.into_primitive(), weight.into_primitive()))
    }
}

impl Products for Flex {
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (rows, dtype) = (x.shape()[0], weight.dtype());
        let shape = weight.shape();
        let [outputs, inputs] = [shape[0], shape[1]];
        let known = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
        if rows == 0 || rows > FEW || inputs == 0 || !known || x.dtype() != DType::F32 {
            if dtype == DType::F32 {
                return Self::float_matmul(x, Self::float_transpose(weight));
            }
            let parts = wide_parts(weight)
                .map(|(_, part)| Self::float_matmul(x.clone(), Self::float_transpose(part)));
            return Self::float_cat(parts.collect(), 1);
        }
        let (x, weight) = (Floats::new(x), weight.to_contiguous());
        let few = Few {
            x: x.get(),
            rows,
            inputs,
        };
        let by_output = match dtype {
            DType::F16 => few.by_output(weight.as_slice::<f16>(), outputs),
            DType::BF16 => few.by_output(weight.as_slice::<bf16>(), outputs),
            _ => few.by_output(weight.as_slice::<f32>(), outputs),
        };
        let y = FlexTensor::zeros(Shape::from([rows, outputs]), DType::F32);
        crate::flex::map_rows(y, outputs, |row, y| {
            for (y, all) in y.iter_mut().zip(by_output.chunks_exact(rows)) {
                *y = all[row];
            }
        })
    }

    fn product_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        if weight.dtype() == DType::F32 {
            return Self::float_matmul(dy, weight);
        }
        let shape = Shape::from([dy.shape()[0], weight.shape()[1]]);
        let rows = Slice::from(0..shape[0]);
        wide_parts(weight).fold(FlexTensor::zeros(shape, DType::F32), |dx, (first, part)| {
            let columns = Slice::from(first..first + part.shape()[0]);
            let dy = Self::float_slice(dy.clone(), &[rows, columns]);
            Self::float_add(dx, Self::float_matmul(dy, part))
        })
    }
}

/// A half-precision weight's rows as f32, some at a time: `(first row, rows)`. Many rows of x
/// pay for that, and f32 of all of them is never there at once.
fn wide_parts(weight: FlexTensor) -> impl Iterator<Item = (usize, FlexTensor)> {
    let shape = weight.shape();
    let [rows, width] = [shape[0], shape[1]];
    let count = (WIDE_NUMBERS / width.max(1)).max(1);
    (0..rows).step_by(count).map(move |first| {
        let part = [
            Slice::from(first..rows.min(first + count)),
            Slice::from(0..width),
        ];
        let part = Flex::float_slice(weight.clone(), &part);
        (first, Flex::float_cast(part, DType::F32.into()))
    })
}

/// Numbers that a weight is stored in.
trait Stored: Copy + Send + Sync {
    /// A row as f32: itself, or made in `scratch`.
    fn wide<'a>(row: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32];
}

impl Stored for f32 {
    fn wide<'a>(row: &'a [Self], _scratch: &'a mut Vec<f32>) -> &'a [f32] {
        row
    }
}

impl Stored for f16 {
    fn wide<'a>(row: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(row.len(), 0.0);
        row.convert_to_f32_slice(scratch);
        scratch
    }
}

impl Stored for bf16 {
    fn wide<'a>(row: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(row.len(), 0.0);
        Arch::new().dispatch(|| {
            for (wide, narrow) in scratch.iter_mut().zip(row) {
                *wide = f32::from_bits(u32::from(narrow.to_bits()) << 16);
            }
        });
        scratch
    }
}

/// Few rows, to be multiplied with many of a weight.
#[derive(Clone, Copy)]
struct Few<'a> {
    x: &'a [f32],
    rows: usize,
    inputs: usize,
}

impl Few<'_> {
    /// The products of every output with every row, `[outputs, rows]`: so what a thread
    /// writes lies together.
    fn by_output<T: Stored>(self, weights: Option<&[T]>, outputs: usize) -> Vec<f32> {
        let weights = weights.unwrap_or_default();
        let mut products = vec![0f32; outputs * self.rows];
        let chunk = |(chunk, products): (usize, &mut [f32])| {
            let mut scratch = Vec::new();
            let first = chunk * CHUNK * self.inputs;
            let rows = weights[first..].chunks_exact(self.inputs);
            for (row, products) in rows.zip(products.chunks_exact_mut(self.rows)) {
                let weight = T::wide(row, &mut scratch);
                Arch::new().dispatch(Dots {
                    few: self,
                    weight,
                    products,
                });
            }
        };
        let size = CHUNK * self.rows;
        #[cfg(not(target_arch = "wasm32"))]
        {
            use rayon::prelude::*;
            let parts = products.par_chunks_mut(size).enumerate();
            parts.with_min_len(2).for_each(chunk);
        }
        #[cfg(target_arch = "wasm32")]
        products.chunks_mut(size).enumerate().for_each(chunk);
        products
    }
}

/// The products of one output's weight with every row.
struct Dots<'a> {
    few: Few<'a>,
    weight: &'a [f32],
    products: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Few { x, rows, inputs } = self.few;
        let (weight, weight_rest) = S::as_simd_f32s(self.weight);
        let row = |row: usize| S::as_simd_f32s(&x[row * inputs..][..inputs]);
        let rest = |x: &[f32]| -> f32 { x.iter().zip(weight_rest).map(|(x, w)| x * w).sum() };
        let mut done = 0;
        // Four rows share each load of the weight, and their sums do not wait for each other.
        while done + 4 <= rows {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| row(done + i));
            let mut sums = [simd.splat_f32s(0.0); 4];
            let loads = a.0.iter().zip(b.0).zip(c.0.iter().zip(d.0));
            for (&w, ((&a, &b), (&c, &d))) in weight.iter().zip(loads) {
                sums[0] = simd.mul_add_f32s(w, a, sums[0]);
                sums[1] = simd.mul_add_f32s(w, b, sums[1]);
                sums[2] = simd.mul_add_f32s(w, c, sums[2]);
                sums[3] = simd.mul_add_f32s(w, d, sums[3]);
            }
            for (i, x) in [a.1, b.1, c.1, d.1].into_iter().enumerate() {
                self.products[done + i] = simd.reduce_sum_f32s(sums[i]) + rest(x);
            }
            done += 4;
        }
        for at in done..rows {
            let x = row(at);
            // Four sums here, too, over every fourth piece.
            let mut sums = [simd.splat_f32s(0.0); 4];
            let (mut pieces, mut weights) = (x.0.chunks_exact(4), weight.chunks_exact(4));
            for (x, w) in pieces.by_ref().zip(weights.by_ref()) {
                for i in 0..4 {
                    sums[i] = simd.mul_add_f32s(w[i], x[i], sums[i]);
                }
            }
            for (&x, &w) in pieces.remainder().iter().zip(weights.remainder()) {
                sums[0] = simd.mul_add_f32s(w, x, sums[0]);
            }
            let [a, b, c, d] = sums;
            let sum = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
            self.products[at] = simd.reduce_sum_f32s(sum) + rest(x.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apet_record::Stream;
    use burn::tensor::{Device, TensorData};
    use futures_lite::future::block_on;

    fn floats(tensor: Tensor<2>) -> Vec<f32> {
        let data = block_on(tensor.into_data_async()).unwrap();
        data.try_to_vec().unwrap()
    }

    /// What is computed with a half-precision weight is what f32 of the same numbers gives,
    /// in the product and in its gradient, also where the weight is taken in several parts.
    #[test]
    fn half_precision_weights_are_multiplied_in_f32() {
        let device = Device::flex();
        let mut stream = Stream::new("half", 0);
        let mut random = |rows: usize, width: usize| {
            let numbers = std::iter::repeat_with(|| stream.normal() as f32);
            let data = TensorData::new(numbers.take(rows * width).collect(), [rows, width]);
            Tensor::<2>::from_data(data, (&device, DType::F32))
        };
        let (x, weight) = (random(20, 1 << 10), random(5000, 1 << 10));
        const { assert!(5000 << 10 > WIDE_NUMBERS, "one part") };
        let dy = random(20, 5000);
        for dtype in [DType::BF16, DType::F16] {
            let half = weight.clone().cast(dtype);
            let [found, expected] = [half.clone(), half.cast(DType::F32)].map(|weight| {
                let x = x.clone().autodiff().require_grad();
                let y = linear(x.clone(), weight);
                let mut gradients = (y.clone() * dy.clone()).sum().backward();
                let dx = x.grad_remove(&mut gradients).unwrap();
                [floats(y.inner()), floats(dx)]
            });
            for (found, expected) in found.iter().zip(&expected) {
                let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() <= 1e-5 * largest, "{dtype:?}");
                }
            }
        }
    }
}
