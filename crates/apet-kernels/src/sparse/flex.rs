//! The sparse operations on `cpu`: plain loops over tokens and entries, over all
//! cores natively. Sums are made in a fixed order, whatever the number of threads.

use burn::{
    backend::{
        Flex,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Shape},
};
use burn_flex::FlexTensor;

use super::{Dims, SparseOps};
use crate::flex::{Floats, Ints, map_rows};

/// Tokens summed at a time for dv: the partial sums are then added in order.
const CHUNK: usize = 128;

impl SparseOps for Flex {
    fn sparse_linear(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let (x, values, index) = (Floats::new(x), Floats::new(values), Ints::new(index));
        let (cols, rows) = (
            index.part(dims.col_of(), dims),
            index.part(dims.row_of(), dims),
        );
        let (x, values) = (x.get(), values.get());
        map_rows(y, dims.rows, |token, y| {
            let x = &x[token * dims.cols..][..dims.cols];
            for ((&row, &col), &value) in rows.iter().zip(cols).zip(values) {
                y[row as usize] += value * x[col as usize];
            }
        })
    }

    fn sparse_linear_dx(
        dy: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let (dy, values, index) = (Floats::new(dy), Floats::new(values), Ints::new(index));
        let (cols, rows) = (
            index.part(dims.col_of(), dims),
            index.part(dims.row_of(), dims),
        );
        let (dy, values) = (dy.get(), values.get());
        let tokens = dy.len() / dims.rows;
        let dx = FlexTensor::zeros(Shape::from([tokens, dims.cols]), DType::F32);
        map_rows(dx, dims.cols, |token, dx| {
            let dy = &dy[token * dims.rows..][..dims.rows];
            for ((&row, &col), &value) in rows.iter().zip(cols).zip(values) {
                dx[col as usize] += value * dy[row as usize];
            }
        })
    }

    fn sparse_linear_dv(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let (x, dy, index) = (Floats::new(x), Floats::new(dy), Ints::new(index));
        let (cols, rows) = (
            index.part(dims.col_of(), dims),
            index.part(dims.row_of(), dims),
        );
        let (x, dy) = (x.get(), dy.get());
        sum_tokens(dy.len() / dims.rows, dims.count, |token, dv| {
            let x = &x[token * dims.cols..][..dims.cols];
            let dy = &dy[token * dims.rows..][..dims.rows];
            for ((&row, &col), dv) in rows.iter().zip(cols).zip(dv) {
                *dv += x[col as usize] * dy[row as usize];
            }
        })
    }

    fn sparse_embed(
        y: FloatTensor<Self>,
        values: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let (values, ids, index) = (Floats::new(values), Ints::new(ids), Ints::new(index));
        let (values, ids) = (values.get(), ids.get());
        let cols = index.part(dims.col_of(), dims);
        map_rows(y, dims.cols, |token, y| {
            for entry in index.row(ids[token]) {
                y[cols[entry] as usize] += values[entry];
            }
        })
    }

    fn sparse_embed_dv(
        dy: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let (dy, ids, index) = (Floats::new(dy), Ints::new(ids), Ints::new(index));
        let (dy, ids) = (dy.get(), ids.get());
        let cols = index.part(dims.col_of(), dims);
        sum_tokens(dy.len() / dims.cols, dims.count, |token, dv| {
            let dy = &dy[token * dims.cols..][..dims.cols];
            for entry in index.row(ids[token]) {
                dv[entry] += dy[cols[entry] as usize];
            }
        })
    }
}

impl Ints {
    /// A part of a packed index.
    fn part(&self, offset: usize, dims: Dims) -> &[i32] {
        &self.get()[offset..][..dims.count]
    }

    /// The entries of a row, by the starts that a packed index begins with.
    fn row(&self, row: i32) -> std::ops::Range<usize> {
        let start = self.get();
        start[row as usize] as usize..start[row as usize + 1] as usize
    }
}

/// Sums what each token adds to a vector of `len`, chunk by chunk, in the order of tokens.
fn sum_tokens(
    tokens: usize,
    len: usize,
    add: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> FlexTensor {
    let chunk = |start: usize| {
        let mut sum = vec![0f32; len];
        for token in start..(start + CHUNK).min(tokens) {
            add(token, &mut sum);
        }
        sum
    };
    let starts: Vec<usize> = (0..tokens).step_by(CHUNK).collect();
    #[cfg(not(target_arch = "wasm32"))]
    let parts: Vec<Vec<f32>> = {
        use rayon::prelude::*;
        starts.into_par_iter().map(chunk).collect()
    };
    #[cfg(target_arch = "wasm32")]
    let parts: Vec<Vec<f32>> = starts.into_iter().map(chunk).collect();
    let mut total = FlexTensor::zeros(Shape::from([len]), DType::F32);
    for part in &parts {
        for (sum, add) in total.storage_mut::<f32>().iter_mut().zip(part) {
            *sum += add;
        }
    }
    total
}
