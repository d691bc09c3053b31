//! The positions of a sparse delta's values, sorted for access by row, by column and by value.

use burn::{
    Tensor,
    tensor::{DType, Device, Int, TensorData},
};

/// Size of a sparse delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of S: outputs of a linear layer, rows of a table.
    pub rows: usize,
    /// Columns of S: inputs of a linear layer, width of a table.
    pub cols: usize,
    /// Number of values.
    pub count: usize,
}

/// Offsets of the parts of the packed index. The WGSL files compute the same offsets.
///
/// ```text
/// row_start [rows + 1] | col_of [count] | row_of [count] | col_start [cols + 1] | by_col_row [count] | by_col_value [count]
/// ```
/// Values are in row-major order, so `row_start` delimits each row's values (CSR);
/// `col_start` delimits each column's in `by_col_*` (CSC).
impl Dims {
    pub(crate) fn col_of(self) -> usize {
        self.rows + 1
    }
    pub(crate) fn row_of(self) -> usize {
        self.col_of() + self.count
    }
    pub(crate) fn col_start(self) -> usize {
        self.row_of() + self.count
    }
    pub(crate) fn by_col_row(self) -> usize {
        self.col_start() + self.cols + 1
    }
    pub(crate) fn by_col_value(self) -> usize {
        self.by_col_row() + self.count
    }
    fn packed_len(self) -> usize {
        self.by_col_value() + self.count
    }
}

/// The positions of a sparse delta's values in its matrix, on a device.
#[derive(Clone, Debug)]
pub struct SparseIndex {
    dims: Dims,
    packed: Tensor<1, Int>,
}

impl SparseIndex {
    /// Places values in a matrix of `rows` x `cols`.
    ///
    /// `positions` are row-major (`row * cols + col`), strictly ascending: the order of the values.
    pub fn new(rows: usize, cols: usize, positions: &[u64], device: &Device) -> Self {
        debug_assert!(
            positions.windows(2).all(|w| w[0] < w[1]),
            "positions ascend"
        );
        let dims = Dims {
            rows,
            cols,
            count: positions.len(),
        };
        let packed = pack(dims, positions);
        Self {
            dims,
            packed: Tensor::from_data(
                TensorData::new(packed, [dims.packed_len()]),
                (device, DType::I32),
            ),
        }
    }

    /// Rows, columns, values.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        (self.dims.packed_len() * size_of::<i32>()) as u64
    }

    pub(crate) fn packed(&self) -> Tensor<1, Int> {
        self.packed.clone()
    }
}

fn pack(dims: Dims, positions: &[u64]) -> Vec<i32> {
    let mut packed = vec![0i32; dims.packed_len()];
    let width = dims.cols as u64;
    for (value, &position) in positions.iter().enumerate() {
        let (row, col) = ((position / width) as usize, (position % width) as usize);
        packed[row + 1] += 1;
        packed[dims.col_of() + value] = col as i32;
        packed[dims.row_of() + value] = row as i32;
        packed[dims.col_start() + col + 1] += 1;
    }
    for row in 0..dims.rows {
        packed[row + 1] += packed[row];
    }
    let col_start = dims.col_start();
    for col in 0..dims.cols {
        packed[col_start + col + 1] += packed[col_start + col];
    }
    let mut next: Vec<i32> = packed[col_start..col_start + dims.cols].to_vec();
    for value in 0..dims.count {
        let col = packed[dims.col_of() + value] as usize;
        let place = next[col] as usize;
        next[col] += 1;
        packed[dims.by_col_row() + place] = packed[dims.row_of() + value];
        packed[dims.by_col_value() + place] = value as i32;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_matrix_is_packed_by_row_and_by_column() {
        // . 0 .
        // 1 2 .
        let dims = Dims {
            rows: 2,
            cols: 3,
            count: 3,
        };
        let packed = pack(dims, &[1, 3, 4]);
        assert_eq!(packed[..3], [0, 1, 3]); // row_start
        assert_eq!(packed[dims.col_of()..][..3], [1, 0, 1]);
        assert_eq!(packed[dims.row_of()..][..3], [0, 1, 1]);
        assert_eq!(packed[dims.col_start()..][..4], [0, 1, 3, 3]);
        assert_eq!(packed[dims.by_col_row()..][..3], [1, 0, 1]);
        assert_eq!(packed[dims.by_col_value()..][..3], [1, 0, 2]);
    }
}
