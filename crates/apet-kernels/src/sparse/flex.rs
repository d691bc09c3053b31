//! The sparse operations on `cpu`: plain loops over tokens and entries, on all
//! cores natively. The order of sums does not depend on the number of threads.

use burn::{
    backend::{
        Flex,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::DType,
};
use burn_backend::TensorMetadata;
use burn_flex::FlexTensor;

use super::{Dims, SparseOps, product::SparseProducts};
use crate::{
    flex::{Floats, Ints, map_rows, sum_rows, zeros},
    linear::Products,
};

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
        let tokens = dy.shape().num_elements() / dims.rows;
        let dx = zeros([tokens, dims.cols]);
        add_dx(dx, dy, values, index, dims)
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
        sum_rows(dy.len() / dims.rows, dims.count, |token, dv| {
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
        sum_rows(dy.len() / dims.cols, dims.count, |token, dv| {
            let dy = &dy[token * dims.cols..][..dims.cols];
            for entry in index.row(ids[token]) {
                dv[entry] += dy[cols[entry] as usize];
            }
        })
    }
}

/// dx + dy S.
fn add_dx(
    dx: FlexTensor,
    dy: FlexTensor,
    values: FlexTensor,
    index: FlexTensor,
    dims: Dims,
) -> FlexTensor {
    let (dy, values, index) = (Floats::new(dy), Floats::new(values), Ints::new(index));
    let (cols, rows) = (
        index.part(dims.col_of(), dims),
        index.part(dims.row_of(), dims),
    );
    let (dy, values) = (dy.get(), values.get());
    map_rows(dx, dims.cols, |token, dx| {
        let dy = &dy[token * dims.rows..][..dims.rows];
        for ((&row, &col), &value) in rows.iter().zip(cols).zip(values) {
            dx[col as usize] += value * dy[row as usize];
        }
    })
}

/// The number of dense multiplications that take as long as one value and token (docs/performance.md).
const DENSE_PRODUCTS: usize = 250;

/// Whether a dense product costs less than a sparse one.
fn dense_pays(dims: Dims) -> bool {
    dims.count.saturating_mul(DENSE_PRODUCTS) > dims.rows * dims.cols
}

/// W + S.
fn sum(weight: FlexTensor, values: FlexTensor, index: FlexTensor, dims: Dims) -> FlexTensor {
    let (values, index) = (Floats::new(values), Ints::new(index));
    let (cols, values) = (index.part(dims.col_of(), dims), values.get());
    map_rows(weight, dims.cols, |row, weight| {
        for entry in index.row(row as i32) {
            weight[cols[entry] as usize] += values[entry];
        }
    })
}

impl SparseProducts for Flex {
    fn sparse_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biased: bool,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        if weight.dtype() == DType::F32 && dense_pays(dims) {
            let weight = sum(weight, values, index, dims);
            // Without a bias, the tensor in its place is not read.
            return Self::product(x, weight, bias, biased);
        }
        let y = Self::product(x.clone(), weight, bias, biased);
        Self::sparse_linear(y, x, values, index, dims)
    }

    fn sparse_product_dx(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        if weight.dtype() == DType::F32 && dense_pays(dims) {
            return Self::product_dx(dy, sum(weight, values, index, dims));
        }
        let dx = Self::product_dx(dy.clone(), weight);
        add_dx(dx, dy, values, index, dims)
    }

    fn sparse_product_dv(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        if !dense_pays(dims) {
            return Self::sparse_linear_dv(x, dy, index, dims);
        }
        let dw = Floats::new(Self::product_dw(x, dy));
        let index = Ints::new(index);
        let (rows, cols) = (
            index.part(dims.row_of(), dims),
            index.part(dims.col_of(), dims),
        );
        let at = |entry: usize| rows[entry] as usize * dims.cols + cols[entry] as usize;
        let dv = zeros([dims.count]);
        map_rows(dv, 1, |entry, dv| dv[0] = dw.get()[at(entry)])
    }
}

impl Ints {
    /// A part of a packed index.
    fn part(&self, offset: usize, dims: Dims) -> &[i32] {
        &self.get()[offset..][..dims.count]
    }

    /// The entries of a row, from the row starts of a packed index.
    fn row(&self, row: i32) -> std::ops::Range<usize> {
        let start = self.get();
        start[row as usize] as usize..start[row as usize + 1] as usize
    }
}
