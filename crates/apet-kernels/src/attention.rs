//! Attention as one operation: softmax(scale q kᵀ + bias) v. Only its inputs are kept for the
//! gradients; the `[rows, heads, length, keys]` weights are recomputed (Dao et al., 2022).

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
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;

use crate::{
    flex::{Matrix, Write, multiply, zeros},
    math::{dot, exp, maximum, multiply_add, sum, vectorize},
    multiply::{Product, multiply as multiply_on_gpu},
    rows,
};

/// A backend's attention on primitives: q `[rows, heads, length, width]`, k and v
/// `[rows, heads, keys, width]`, bias broadcast to `[rows, heads, length, keys]`. Use [`attention`].
#[backend_extension(Cube, Flex, Autodiff)]
pub(crate) trait Attention: Backend {
    /// softmax(scale q kᵀ + bias) v, in the shape of q.
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self>;

    /// The gradients of q, k and v.
    fn attend_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of the bias.
    fn attend_dbias(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let shape = bias.shape();
        let p = weights::<Self>(q, k, bias, scale);
        let ds = dscores::<Self>(p, v, dy);
        (0..4)
            .filter(|&d| shape[d] == 1)
            .fold(ds, |ds, d| Self::float_sum_dim(ds, d))
    }
}

/// softmax(scale q kᵀ + bias).
fn weights<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    bias: FloatTensor<B>,
    scale: f64,
) -> FloatTensor<B> {
    let q = B::float_mul_scalar(q, scale.into());
    let scores = B::float_matmul(q, B::float_swap_dims(k, 2, 3));
    B::softmax(B::float_add(scores, bias), 3)
}

/// p (dp - Σ dp p) with dp = dy vᵀ: the gradient of the scores.
fn dscores<B: Backend>(p: FloatTensor<B>, v: FloatTensor<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
    let dp = B::float_matmul(dy, B::float_swap_dims(v, 2, 3));
    let product = B::float_mul(dp, p.clone());
    let sum = B::float_sum_dim(product.clone(), 3);
    B::float_sub(product, B::float_mul(p, sum))
}

/// softmax(scale q kᵀ + bias) v: q `[rows, heads, length, width]`, k and v
/// `[rows, heads, keys, width]`, bias broadcast to `[rows, heads, length, keys]`; shape of q.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Tensor<4>,
    scale: f64,
) -> Tensor<4> {
    let [q, k, v, bias] = [q, k, v, bias].map(|tensor| tensor.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Attention>::attend(q, k, v, bias, scale))
}

impl Attention for CubeBackend {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let scores = multiply_on_gpu(Product::Nt, q, k, None, false);
        let p = rows::softmax(scores, bias, scale);
        multiply_on_gpu(Product::Nn, p, v, None, true)
    }

    fn attend_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let scores = multiply_on_gpu(Product::Nt, q.clone(), k.clone(), None, false);
        let p = rows::softmax(scores, bias, scale);
        let dv = multiply_on_gpu(Product::Tn, p.clone(), dy.clone(), None, true);
        let dp = multiply_on_gpu(Product::Nt, dy, v, None, false);
        let ds = rows::softmax_dx(p, dp, scale);
        let dq = multiply_on_gpu(Product::Nn, ds.clone(), k, None, true);
        let dk = multiply_on_gpu(Product::Tn, ds, q, None, true);
        (dq, dk, dv)
    }
}

/// Queries whose scores are computed at once; they fit a core's cache.
const QUERIES: usize = 128;

impl Attention for Flex {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let mut y = by_token(&q);
        let inputs = Inputs::new(q, k, v, bias, scale);
        let [rows, heads, length, width] = inputs.dims;
        each_head([&mut y], [rows, heads, width], |row, head, [y]| {
            let [q, k, v] = inputs.matrices(row, head);
            let mut scores = vec![0f32; QUERIES.min(length) * inputs.keys];
            let mut block = vec![0f32; QUERIES.min(length) * width];
            for (first, y) in (0..).step_by(QUERIES).zip(y.chunks_mut(QUERIES)) {
                let q = q.row_range(first, y.len());
                let scores = &mut scores[..y.len() * inputs.keys];
                let block = &mut block[..y.len() * width];
                multiply(scores, Write::Replace, q, k.transposed(), false);
                let sums = inputs.exponentials(scores, [row, head, first]);
                let p = Matrix::rows(scores, y.len(), inputs.keys);
                multiply(block, Write::Replace, p, v, false);
                for ((y, block), sum) in y.iter_mut().zip(block.chunks_exact(width)).zip(sums) {
                    for (y, x) in y.iter_mut().zip(block) {
                        *y = x / sum;
                    }
                }
            }
        });
        y.transpose(1, 2)
    }

    fn attend_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (mut dq, mut dk, mut dv) = (by_token(&q), by_token(&k), by_token(&v));
        let dy = Strided::new(dy);
        let inputs = Inputs::new(q, k, v, bias, scale);
        let ([rows, heads, length, width], keys) = (inputs.dims, inputs.keys);
        let outputs = [&mut dq, &mut dk, &mut dv];
        each_head(outputs, [rows, heads, width], |row, head, [dq, dk, dv]| {
            let [q, k, v] = inputs.matrices(row, head);
            let dy = dy.matrix(row, head);
            let size = QUERIES.min(length);
            let (mut p, mut ds) = (vec![0f32; size * keys], vec![0f32; size * keys]);
            let mut block = vec![0f32; size * width];
            let mut sums = [vec![0f32; keys * width], vec![0f32; keys * width]];
            for (first, dq) in (0..).step_by(QUERIES).zip(dq.chunks_mut(QUERIES)) {
                let [q, dy] = [q, dy].map(|of| of.row_range(first, dq.len()));
                let [p, ds] = [&mut p, &mut ds].map(|of| &mut of[..dq.len() * keys]);
                let block = &mut block[..dq.len() * width];
                multiply(p, Write::Replace, q, k.transposed(), false);
                let totals = inputs.exponentials(p, [row, head, first]);
                multiply(ds, Write::Replace, dy, v.transposed(), false);
                scores_back(p, ds, &totals, keys, inputs.scale);
                let [p, ds] = [&*p, &*ds].map(|of| Matrix::rows(of, dq.len(), keys));
                multiply(&mut sums[0], Write::Add, ds.transposed(), q, false);
                multiply(&mut sums[1], Write::Add, p.transposed(), dy, false);
                multiply(block, Write::Replace, ds, k, false);
                for (dq, block) in dq.iter_mut().zip(block.chunks_exact(width)) {
                    dq.copy_from_slice(block);
                }
            }
            for (out, sum) in [dk, dv].into_iter().zip(&sums) {
                for (out, sum) in out.iter_mut().zip(sum.chunks_exact(width)) {
                    out.copy_from_slice(sum);
                }
            }
        });
        (dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2))
    }
}

/// Computes p / total and scale p (dp - Σ dp p); `ds` holds dp on entry.
fn scores_back(p: &mut [f32], ds: &mut [f32], totals: &[f32], keys: usize, scale: f32) {
    vectorize(
        #[inline(always)]
        || {
            let rows = p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys));
            for ((p, ds), total) in rows.zip(totals) {
                let share = 1.0 / total;
                for p in p.iter_mut() {
                    *p *= share;
                }
                let sum = dot(p, ds);
                for (ds, &p) in ds.iter_mut().zip(&*p) {
                    *ds = (*ds - sum) * p * scale;
                }
            }
        },
    );
}

/// Zeros of shape `[rows, heads, length, width]` in the memory layout `[rows, length, heads, width]`.
fn by_token(like: &FlexTensor) -> FlexTensor {
    let shape = like.shape();
    let shape = [shape[0], shape[2], shape[1], shape[3]];
    zeros(shape)
}

/// Calls `of_head` on each row and head with its slices of the outputs, one for each token.
fn each_head<const N: usize>(
    outputs: [&mut FlexTensor; N],
    [rows, heads, width]: [usize; 3],
    of_head: impl Fn(usize, usize, [&mut [&mut [f32]]; N]) + Send + Sync,
) {
    let pieces = outputs.map(|output| {
        let all = output.storage_mut::<f32>();
        let tokens = all.len() / (rows * heads * width).max(1);
        let mut pieces: Vec<Vec<&mut [f32]>> = Vec::new();
        pieces.resize_with(rows * heads, || Vec::with_capacity(tokens));
        for (at, piece) in all.chunks_exact_mut(width).enumerate() {
            let row = at / (heads * tokens);
            pieces[row * heads + at % heads].push(piece);
        }
        pieces.into_iter()
    });
    let mut pieces = pieces;
    let tasks: Vec<[Vec<&mut [f32]>; N]> = (0..rows * heads)
        .map(|_| std::array::from_fn(|n| pieces[n].next().unwrap_or_default()))
        .collect();
    let task = |(at, mut of): (usize, [Vec<&mut [f32]>; N])| {
        of_head(at / heads, at % heads, of.each_mut().map(Vec::as_mut_slice));
    };
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        tasks.into_par_iter().enumerate().for_each(task);
    }
    #[cfg(target_arch = "wasm32")]
    tasks.into_iter().enumerate().for_each(task);
}

/// A tensor of four axes, read in place: swapped axes need no copy.
struct Strided {
    tensor: FlexTensor,
    dims: [usize; 4],
    strides: [usize; 4],
    offset: usize,
}

impl Strided {
    fn new(tensor: FlexTensor) -> Self {
        let ahead = |tensor: &FlexTensor| tensor.layout().strides().iter().all(|&s| s >= 0);
        let tensor = match ahead(&tensor) {
            true => tensor,
            false => tensor.to_contiguous(),
        };
        let (shape, layout) = (tensor.shape(), tensor.layout());
        let strides = layout.strides();
        // An axis of length 1 is broadcast.
        let stride = |d: usize| {
            if shape[d] == 1 {
                0
            } else {
                strides[d] as usize
            }
        };
        Self {
            dims: std::array::from_fn(|d| shape[d]),
            strides: std::array::from_fn(stride),
            offset: layout.start_offset(),
            tensor,
        }
    }

    fn from(&self, at: [usize; 3]) -> &[f32] {
        let steps = at.iter().zip(self.strides).map(|(at, stride)| at * stride);
        &self.tensor.storage::<f32>()[self.offset + steps.sum::<usize>()..]
    }

    fn matrix(&self, row: usize, head: usize) -> Matrix<'_> {
        let [.., length, width] = self.dims;
        let [.., of_length, of_width] = self.strides;
        Matrix::new(
            self.from([row, head, 0]),
            [length, width],
            [of_length, of_width],
        )
    }
}

/// The inputs of attention.
struct Inputs {
    qkv: [Strided; 3],
    bias: Strided,
    scale: f32,
    /// Rows, heads, length, width.
    dims: [usize; 4],
    keys: usize,
}

impl Inputs {
    fn new(q: FlexTensor, k: FlexTensor, v: FlexTensor, bias: FlexTensor, scale: f64) -> Self {
        let qkv = [q, k, v].map(Strided::new);
        let mut bias = Strided::new(bias);
        if bias.strides[3] > 1 {
            bias = Strided::new(bias.tensor.to_contiguous());
        }
        Self {
            dims: qkv[0].dims,
            keys: qkv[1].dims[2],
            qkv,
            bias,
            scale: scale as f32,
        }
    }

    fn matrices(&self, row: usize, head: usize) -> [Matrix<'_>; 3] {
        self.qkv.each_ref().map(|of| of.matrix(row, head))
    }

    /// Replaces scores s by exp(scale s + bias - the row's maximum), and returns each row's sum.
    fn exponentials(&self, scores: &mut [f32], [row, head, first]: [usize; 3]) -> Vec<f32> {
        let one_for_all = self.bias.strides[3] == 0;
        let mut sums = Vec::with_capacity(scores.len() / self.keys);
        // Plain loops, because a closure may prevent vectorisation.
        vectorize(
            #[inline(always)]
            || {
                for (i, s) in scores.chunks_exact_mut(self.keys).enumerate() {
                    let bias = self.bias.from([row, head, first + i]);
                    if one_for_all {
                        let bias = bias[0];
                        for s in s.iter_mut() {
                            *s = multiply_add(*s, self.scale, bias);
                        }
                    } else {
                        for (s, &b) in s.iter_mut().zip(bias) {
                            *s = multiply_add(*s, self.scale, b);
                        }
                    }
                    let largest = maximum(s);
                    for s in s.iter_mut() {
                        *s = exp(*s - largest);
                    }
                    sums.push(sum(s));
                }
            },
        );
        sums
    }
}

impl<B: Backend + Attention, C: CheckpointStrategy> Attention for Autodiff<B, C> {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Attend;
        impl<B: Backend + Attention> Backward<B, 4> for Attend {
            type State = ([FloatTensor<B>; 4], f64);
            fn backward(
                self,
                ops: Ops<Self::State, 4>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let ([q, k, v, bias], scale) = ops.state;
                let [of_q, of_k, of_v, of_bias] = ops.parents;
                if let Some(node) = of_bias {
                    let [q, k, v, bias] = [&q, &k, &v, &bias].map(|tensor| tensor.clone());
                    let dbias = B::attend_dbias(q, k, v, bias, dy.clone(), scale);
                    grads.register::<B>(node.id, dbias);
                }
                if of_q.is_none() && of_k.is_none() && of_v.is_none() {
                    return;
                }
                let (dq, dk, dv) = B::attend_backward(q, k, v, bias, dy, scale);
                for (node, gradient) in [(of_q, dq), (of_k, dk), (of_v, dv)] {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, gradient);
                    }
                }
            }
        }
        let nodes = [q.node(), k.node(), v.node(), bias.node()];
        let inputs = [q, k, v, bias].map(|tensor| tensor.into_primitive());
        let [q, k, v, bias] = inputs.clone();
        let y = B::attend(q, k, v, bias, scale);
        match Attend.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, scale), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    // Second derivatives are not supported, so the gradients are not tracked.
    fn attend_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v, bias, dy] = [q, k, v, bias, dy].map(|tensor| tensor.into_primitive());
        let (dq, dk, dv) = B::attend_backward(q, k, v, bias, dy, scale);
        let [dq, dk, dv] = [dq, dk, dv].map(Self::from_inner);
        (dq, dk, dv)
    }

    fn attend_dbias(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let [q, k, v, bias, dy] = [q, k, v, bias, dy].map(|tensor| tensor.into_primitive());
        Self::from_inner(B::attend_dbias(q, k, v, bias, dy, scale))
    }
}
