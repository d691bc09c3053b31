//! Shared code of the burn-flex paths: tensors as slices, and parallel loops over rows.

mod gemm;

use burn::tensor::{DType, Shape};
use burn_backend::TensorMetadata;
use burn_flex::FlexTensor;

pub(crate) use self::gemm::{Matrix, Write, multiply};
use crate::math::vectorize;

/// Elements of a chunk, which fits a core's cache.
const PIECE: usize = 1 << 12;
/// Rows of a partial sum; the partial sums are then added in order.
const CHUNK: usize = 128;

/// A contiguous f32 tensor that can be read as a slice.
pub(crate) struct Floats(FlexTensor);

impl Floats {
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }
    pub(crate) fn get(&self) -> &[f32] {
        self.0.as_slice().unwrap_or(&[])
    }
}

/// A contiguous i32 tensor that can be read as a slice.
pub(crate) struct Ints(FlexTensor);

impl Ints {
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        debug_assert_eq!(tensor.dtype(), DType::I32, "ids and index are i32");
        Self(tensor.to_contiguous())
    }
    pub(crate) fn get(&self) -> &[i32] {
        self.0.as_slice().unwrap_or(&[])
    }
}

/// Zeros. (`FlexTensor::zeros` allocates bytes and copies them to memory aligned for f32.)
pub(crate) fn zeros(shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::filled_typed(shape.into(), DType::F32, 0f32)
}

/// Zeros with a tensor's shape.
pub(crate) fn zeros_like(tensor: &FlexTensor) -> FlexTensor {
    zeros(tensor.shape())
}

/// Width of the last axis.
pub(crate) fn row_width(x: &FlexTensor) -> usize {
    x.shape().last().copied().unwrap_or(1).max(1)
}

/// The tensor as a separate contiguous buffer, row by row.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let size = tensor.shape().num_elements() * size_of::<f32>();
    let tensor = tensor.to_contiguous();
    // A view of a larger buffer is copied, so that the tensor fills its buffer.
    match tensor.bytes().len() == size {
        true => tensor,
        false => FlexTensor::from_data(tensor.into_data()),
    }
}

/// Changes a tensor's rows of `width` in place (in a copy if it is shared). A `change` that is
/// `#[inline(always)]` is vectorised.
pub(crate) fn map_rows(
    tensor: FlexTensor,
    width: usize,
    change: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> FlexTensor {
    let mut tensor = contiguous(tensor);
    each_row(tensor.storage_mut::<f32>(), width, 16, |i, row| {
        vectorize(
            #[inline(always)]
            || change(i, row),
        );
    });
    tensor
}

/// Changes a tensor in place, chunk by chunk, together with others of the same shape.
pub(crate) fn map_chunks<const N: usize>(
    tensor: FlexTensor,
    beside: [FlexTensor; N],
    change: impl Fn(&mut [f32], [&[f32]; N]) + Send + Sync,
) -> FlexTensor {
    let beside = beside.map(Floats::new);
    let mut tensor = contiguous(tensor);
    let all = tensor.storage_mut::<f32>();
    let piece = |i: usize, part: &mut [f32]| {
        let at = i * PIECE..i * PIECE + part.len();
        let beside = std::array::from_fn(|n| &beside[n].get()[at.clone()]);
        vectorize(
            #[inline(always)]
            || change(part, beside),
        );
    };
    let whole = all.len() / PIECE * PIECE;
    let (pieces, rest) = all.split_at_mut(whole);
    piece(whole / PIECE, rest);
    each_row(pieces, PIECE, 1, piece);
    tensor
}

/// Calls `change` on corresponding chunks of slices of the same length, with their offset, on
/// all cores.
pub(crate) fn each_chunk<const N: usize>(
    all: [&mut [f32]; N],
    change: impl Fn(usize, [&mut [f32]; N]) + Send + Sync,
) {
    let count = all[0].len().div_ceil(PIECE);
    let mut pieces = all.map(|slice| slice.chunks_mut(PIECE));
    let tasks: Vec<[&mut [f32]; N]> = (0..count)
        .map(|_| std::array::from_fn(|n| pieces[n].next().unwrap_or_default()))
        .collect();
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        let tasks = tasks.into_par_iter().enumerate();
        tasks.for_each(|(at, pieces)| change(at * PIECE, pieces));
    }
    #[cfg(target_arch = "wasm32")]
    for (at, pieces) in tasks.into_iter().enumerate() {
        change(at * PIECE, pieces);
    }
}

/// Calls `change` on each row of `width` elements, on all cores, with at least `together` rows for each task.
pub(crate) fn each_row(
    all: &mut [f32],
    width: usize,
    together: usize,
    change: impl Fn(usize, &mut [f32]) + Send + Sync,
) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        all.par_chunks_exact_mut(width)
            .enumerate()
            .with_min_len(together)
            .for_each(|(i, row)| change(i, row));
    }
    #[cfg(target_arch = "wasm32")]
    {
        let _ = together;
        all.chunks_exact_mut(width)
            .enumerate()
            .for_each(|(i, row)| change(i, row));
    }
}

/// Sums each row's contribution to a vector of `len`, chunk by chunk in row order, so that the result does not
/// depend on the number of threads.
pub(crate) fn sum_rows(
    rows: usize,
    len: usize,
    add: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> FlexTensor {
    let chunk = |start: usize| {
        let mut sum = vec![0f32; len];
        vectorize(
            #[inline(always)]
            || {
                for row in start..(start + CHUNK).min(rows) {
                    add(row, &mut sum);
                }
            },
        );
        sum
    };
    let starts: Vec<usize> = (0..rows).step_by(CHUNK).collect();
    #[cfg(not(target_arch = "wasm32"))]
    let parts: Vec<Vec<f32>> = {
        use rayon::prelude::*;
        starts.into_par_iter().map(chunk).collect()
    };
    #[cfg(target_arch = "wasm32")]
    let parts: Vec<Vec<f32>> = starts.into_iter().map(chunk).collect();
    let mut total = zeros([len]);
    for part in &parts {
        for (sum, add) in total.storage_mut::<f32>().iter_mut().zip(part) {
            *sum += add;
        }
    }
    total
}
