//! What the paths for burn-flex share: tensors as slices, and loops over rows on all cores.

mod gemm;

use burn::tensor::{DType, Shape};
use burn_backend::TensorMetadata;
use burn_flex::FlexTensor;

pub(crate) use self::gemm::{Matrix, Write, multiply};
use crate::math::vectorize;

/// Numbers of a piece: small enough for a core's own memory.
const PIECE: usize = 1 << 12;
/// Rows summed at a time: the partial sums are then added in order.
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

/// Zeros. (`FlexTensor::zeros` makes bytes, and copies them to where f32 may lie.)
pub(crate) fn zeros(shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::filled_typed(shape.into(), DType::F32, 0f32)
}

/// Zeros in the shape of a tensor.
pub(crate) fn zeros_like(tensor: &FlexTensor) -> FlexTensor {
    zeros(tensor.shape())
}

/// Width of the last axis.
pub(crate) fn row_width(x: &FlexTensor) -> usize {
    x.shape().last().copied().unwrap_or(1).max(1)
}

/// The tensor as a buffer of its own, one row after another.
pub(crate) fn own(tensor: FlexTensor) -> FlexTensor {
    let size = tensor.shape().num_elements() * size_of::<f32>();
    let tensor = tensor.to_contiguous();
    // A view into a larger buffer is copied, so that the whole buffer is the tensor.
    match tensor.bytes().len() == size {
        true => tensor,
        false => FlexTensor::from_data(tensor.into_data()),
    }
}

/// Changes a tensor's rows of `width` in place (in a copy, where it is shared). A `change` that is
/// `#[inline(always)]` is made of vectors.
pub(crate) fn map_rows(
    tensor: FlexTensor,
    width: usize,
    change: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> FlexTensor {
    let mut tensor = own(tensor);
    each_row(tensor.storage_mut::<f32>(), width, 16, |i, row| {
        vectorize(
            #[inline(always)]
            || change(i, row),
        );
    });
    tensor
}

/// Changes a tensor in place, piece by piece, beside others of its shape.
pub(crate) fn map_pieces<const N: usize>(
    tensor: FlexTensor,
    beside: [FlexTensor; N],
    change: impl Fn(&mut [f32], [&[f32]; N]) + Send + Sync,
) -> FlexTensor {
    let beside = beside.map(Floats::new);
    let mut tensor = own(tensor);
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

/// Calls `change` on pieces of slices of one length, side by side, with the place where they begin; on
/// all cores.
pub(crate) fn each_piece<const N: usize>(
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

/// Calls `change` on each row of `width` numbers, on all cores; at least `together` rows a core.
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

/// Sums what each row adds to a vector of `len`, chunk by chunk, in the order of rows: the same
/// whatever the number of threads.
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
