//! Products with frozen weights, which may be stored in half precision; inputs and outputs are f32.
//!
//! A product of few rows (token-by-token generation) is limited by reading the weights, so `cpu` has a
//! separate parallel path that neither packs the weights nor stores them as f32.

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
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::FlexTensor;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use pulp::{Arch, Simd, WithSimd};

use crate::{
    flex::{Floats, Matrix, Write, map_rows, multiply, zeros},
    multiply::{Product, multiply as multiply_on_gpu},
    norm::Norms,
};

/// The number of rows up to which reading the weights dominates.
const FEW: usize = 16;
/// Elements of a half-precision weight converted to f32 at once: 16 MiB.
pub const WIDE_NUMBERS: usize = 1 << 22;
/// Weight rows that a thread processes at once.
const CHUNK: usize = 64;

/// A backend's products on primitives: x `[rows, in]` f32, weight `[out, in]`, bias `[out]` f32, dy
/// `[rows, out]` f32. Use [`linear`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait Products: Backend {
    /// x Wᵀ + bias, without bias unless `biased`: `[rows, out]` f32.
    fn product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biased: bool,
    ) -> FloatTensor<Self>;

    /// The gradient of x, dy W: `[rows, in]` f32.
    fn product_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of a trainable weight, which is f32: dyᵀ x, `[out, in]`.
    fn product_dw(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// x Wᵀ + bias: x `[tokens, in]` f32, weight `[out, in]` f32, f16 or bf16, bias `[out]` f32; result
/// `[tokens, out]` f32.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let biased = bias.is_some();
    // Without a bias, the weight is passed in its place and not read.
    let bias = bias.map_or_else(|| weight.clone(), |bias| bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Products>::product(x, weight, bias, biased))
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

impl Products for CubeBackend {
    fn product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biased: bool,
    ) -> FloatTensor<Self> {
        if weight.dtype() == DType::F32 {
            let bias = biased.then_some(bias);
            return multiply_on_gpu(Product::Nt, x, weight, bias, false);
        }
        let y = multiply_in_half(Product::Nt, x, weight);
        if !biased {
            return y;
        }
        let row = Shape::from([1, bias.shape()[0]]);
        Self::float_add(y, Self::float_reshape(bias, row))
    }

    fn product_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match weight.dtype() {
            DType::F32 => multiply_on_gpu(Product::Nn, dy, weight, None, false),
            _ => multiply_in_half(Product::Nn, dy, weight),
        }
    }

    fn product_dw(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        multiply_on_gpu(Product::Tn, dy, x, None, false)
    }
}

/// A product with a half-precision weight, computed in half precision: f32 in and out.
fn multiply_in_half(product: Product, x: CubeTensor, weight: CubeTensor) -> CubeTensor {
    let x = CubeBackend::float_cast(x, weight.dtype().into());
    let y = multiply_on_gpu(product, x, weight, None, false);
    CubeBackend::float_cast(y, DType::F32.into())
}

impl<B: Backend + Products + Norms, C: CheckpointStrategy> Products for Autodiff<B, C> {
    fn product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biased: bool,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LinearBackward;
        impl<B: Backend + Products + Norms> Backward<B, 3> for LinearBackward {
            /// The weight if x is tracked, x if the weight is tracked, and whether there is a bias.
            type State = ([Option<FloatTensor<B>>; 2], bool);
            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let ([weight, x], biased) = ops.state;
                let [of_x, of_weight, of_bias] = ops.parents;
                if let Some(node) = of_bias.filter(|_| biased) {
                    grads.register::<B>(node.id, B::column_sums(dy.clone()));
                }
                if let (Some(node), Some(x)) = (of_weight, x) {
                    grads.register::<B>(node.id, B::product_dw(x, dy.clone()));
                }
                if let (Some(node), Some(weight)) = (of_x, weight) {
                    grads.register::<B>(node.id, B::product_dx(dy, weight));
                }
            }
        }
        let tracked = [x.is_tracked(), weight.is_tracked()];
        let nodes = [x.node(), weight.node(), bias.node()];
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
        let y = B::product(x.clone(), weight.clone(), bias, biased);
        match LinearBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let kept = [tracked[0].then_some(weight), tracked[1].then_some(x)];
                prep.finish((kept, biased), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    // Second derivatives are not supported, so the gradients are not tracked.
    fn product_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::product_dx(dy.into_primitive(), weight.into_primitive()))
    }

    fn product_dw(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::product_dw(x.into_primitive(), dy.into_primitive()))
    }
}

impl Products for Flex {
    fn product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biased: bool,
    ) -> FloatTensor<Self> {
        let (rows, dtype) = (x.shape()[0], weight.dtype());
        let shape = weight.shape();
        let [outputs, inputs] = [shape[0], shape[1]];
        let few = rows <= FEW && rows * inputs > 0;
        let x = Floats::new(x);
        let bias = biased.then(|| Floats::new(bias));
        let bias = bias.as_ref().map(Floats::get);
        let y = zeros([rows, outputs]);
        if few {
            let weight = weight.to_contiguous();
            let few = FewRows {
                x: x.get(),
                rows,
                inputs,
            };
            let by_output = match dtype {
                DType::F16 => few.by_output(weight.as_slice::<f16>(), outputs),
                DType::BF16 => few.by_output(weight.as_slice::<bf16>(), outputs),
                _ => few.by_output(weight.as_slice::<f32>(), outputs),
            };
            return map_rows(y, outputs, |row, y| {
                for (y, all) in y.iter_mut().zip(by_output.chunks_exact(rows)) {
                    *y = all[row];
                }
                add(y, bias);
            });
        }
        // The product is added to the bias, so that y crosses memory once.
        let mut y = match bias {
            Some(bias) => map_rows(y, outputs, |_, y| y.copy_from_slice(bias)),
            None => y,
        };
        let write = if bias.is_some() {
            Write::Add
        } else {
            Write::Replace
        };
        let x = Matrix::rows(x.get(), rows, inputs);
        if dtype == DType::F32 {
            let weight = Floats::new(weight);
            let weight = Matrix::rows(weight.get(), outputs, inputs).transposed();
            multiply(y.storage_mut(), write, x, weight, true);
            return y;
        }
        let parts = f32_chunks(weight).map(|(first, part)| {
            let columns = part.shape()[0];
            let part = Floats::new(part);
            let part = Matrix::rows(part.get(), columns, inputs).transposed();
            let mut some = vec![0f32; rows * columns];
            multiply(&mut some, Write::Replace, x, part, true);
            (first, columns, some)
        });
        parts.fold(y, |y, (first, columns, some)| {
            map_rows(y, outputs, |row, y| {
                let some = &some[row * columns..][..columns];
                add(&mut y[first..][..columns], Some(some));
            })
        })
    }

    fn product_dw(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let (rows, inputs, outputs) = (x.shape()[0], x.shape()[1], dy.shape()[1]);
        let [x, dy] = [x, dy].map(Floats::new);
        let mut dw = zeros([outputs, inputs]);
        let dy = Matrix::rows(dy.get(), rows, outputs).transposed();
        let x = Matrix::rows(x.get(), rows, inputs);
        multiply(dw.storage_mut(), Write::Replace, dy, x, true);
        dw
    }

    fn product_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (rows, outputs, inputs) = (dy.shape()[0], weight.shape()[0], weight.shape()[1]);
        if weight.dtype() == DType::F32 {
            let [dy, weight] = [dy, weight].map(Floats::new);
            let mut dx = zeros([rows, inputs]);
            let dy = Matrix::rows(dy.get(), rows, outputs);
            let weight = Matrix::rows(weight.get(), outputs, inputs);
            multiply(dx.storage_mut(), Write::Replace, dy, weight, true);
            return dx;
        }
        let shape = Shape::from([rows, inputs]);
        let rows = Slice::from(0..shape[0]);
        f32_chunks(weight).fold(zeros(shape), |dx, (first, part)| {
            let columns = Slice::from(first..first + part.shape()[0]);
            let dy = Self::float_slice(dy.clone(), &[rows, columns]);
            Self::float_add(dx, Self::float_matmul(dy, part))
        })
    }
}

/// y + more, or y without `more`.
fn add(y: &mut [f32], more: Option<&[f32]>) {
    for (y, more) in y.iter_mut().zip(more.into_iter().flatten()) {
        *y += more;
    }
}

/// A half-precision weight's rows as f32, in chunks: `(first row, rows)`. With many rows of x
/// the conversion is cheap, and the whole weight is never f32 at once.
fn f32_chunks(weight: FlexTensor) -> impl Iterator<Item = (usize, FlexTensor)> {
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

/// Element types of stored weights.
trait StoredElement: Copy + Send + Sync {
    /// A row as f32: itself, or converted into `scratch`.
    fn to_f32<'a>(row: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32];
}

impl StoredElement for f32 {
    fn to_f32<'a>(row: &'a [Self], _scratch: &'a mut Vec<f32>) -> &'a [f32] {
        row
    }
}

impl StoredElement for f16 {
    fn to_f32<'a>(row: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(row.len(), 0.0);
        row.convert_to_f32_slice(scratch);
        scratch
    }
}

impl StoredElement for bf16 {
    fn to_f32<'a>(row: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(row.len(), 0.0);
        Arch::new().dispatch(|| {
            for (wide, narrow) in scratch.iter_mut().zip(row) {
                *wide = f32::from_bits(u32::from(narrow.to_bits()) << 16);
            }
        });
        scratch
    }
}

/// A few rows to multiply with many rows of a weight.
#[derive(Clone, Copy)]
struct FewRows<'a> {
    x: &'a [f32],
    rows: usize,
    inputs: usize,
}

impl FewRows<'_> {
    /// The products of every output with every row, `[outputs, rows]`, so that each thread
    /// writes contiguous memory.
    fn by_output<T: StoredElement>(self, weights: Option<&[T]>, outputs: usize) -> Vec<f32> {
        let weights = weights.unwrap_or_default();
        let mut products = vec![0f32; outputs * self.rows];
        let chunk = |(chunk, products): (usize, &mut [f32])| {
            let mut scratch = Vec::new();
            let first = chunk * CHUNK * self.inputs;
            let rows = weights[first..].chunks_exact(self.inputs);
            for (row, products) in rows.zip(products.chunks_exact_mut(self.rows)) {
                let weight = T::to_f32(row, &mut scratch);
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

/// The products of one output's weights with every row.
struct Dots<'a> {
    few: FewRows<'a>,
    weight: &'a [f32],
    products: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let FewRows { x, rows, inputs } = self.few;
        let (weight, weight_rest) = S::as_simd_f32s(self.weight);
        let row = |row: usize| S::as_simd_f32s(&x[row * inputs..][..inputs]);
        let rest = |x: &[f32]| -> f32 { x.iter().zip(weight_rest).map(|(x, w)| x * w).sum() };
        let mut done = 0;
        // Four rows share each load of the weight, and their sums are independent.
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
            // Four independent sums here, too, over every fourth chunk.
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

    /// A half-precision weight gives the same product and gradient as the same values in f32,
    /// also if the weight is converted in several chunks.
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
                let y = linear(x.clone(), weight, None);
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
