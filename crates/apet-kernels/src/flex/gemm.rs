//! Matrix products on slices with the crate gemm, which burn-flex also uses.

use gemm::Parallelism;

/// A matrix in a slice: element (i, j) is at `i * strides[0] + j * strides[1]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// # Panics
    /// If an element would be past the end of the slice.
    pub(crate) fn new(data: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        let last: usize = (0..2)
            .map(|d| shape[d].saturating_sub(1) * strides[d])
            .sum();
        assert!(
            shape.contains(&0) || last < data.len(),
            "a matrix in its slice"
        );
        Self {
            data,
            shape,
            strides,
        }
    }

    /// A row-major matrix.
    pub(crate) fn rows(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, [rows, cols], [cols, 1])
    }

    /// The transpose.
    pub(crate) fn transposed(self) -> Self {
        let flip = |[a, b]: [usize; 2]| [b, a];
        Self {
            shape: flip(self.shape),
            strides: flip(self.strides),
            ..self
        }
    }

    /// A range of rows.
    pub(crate) fn row_range(self, first: usize, rows: usize) -> Self {
        let from = (first * self.strides[0]).min(self.data.len());
        Self::new(&self.data[from..], [rows, self.shape[1]], self.strides)
    }
}

/// How a product combines with the existing output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Overwrites it.
    Replace,
    /// Adds to it.
    Add,
}

/// Writes a b to the row-major `out`, on all cores if it is large.
///
/// # Panics
/// If the shapes do not match.
pub(crate) fn multiply(out: &mut [f32], write: Write, a: Matrix<'_>, b: Matrix<'_>, spread: bool) {
    let [m, k] = a.shape;
    let [inner, n] = b.shape;
    assert!(inner == k && out.len() == m * n, "shapes of a product fit");
    let parallelism = match spread {
        #[cfg(not(target_arch = "wasm32"))]
        true if m * n * k >= LARGE => Parallelism::Rayon(0),
        _ => Parallelism::None,
    };
    let of = |strides: [usize; 2]| strides.map(|stride| stride as isize);
    let ([a_rows, a_cols], [b_rows, b_cols]) = (of(a.strides), of(b.strides));
    #[expect(
        unsafe_code,
        reason = "gemm takes pointers; every element was checked to be within its slice"
    )]
    // SAFETY: `Matrix::new` holds every element of a and b within its slice, `out` holds m x n, and is
    // borrowed mutably, so that it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a_cols,
            a_rows,
            b.data.as_ptr(),
            b_cols,
            b_rows,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Number of multiplications from which on threads are faster.
#[cfg(not(target_arch = "wasm32"))]
const LARGE: usize = 192 * 192 * 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_views_are_those_of_their_elements() {
        let a: Vec<f32> = (0..12).map(|v| v as f32).collect();
        // 3 x 2 of 3 x 4, and its transpose.
        let view = Matrix::new(&a[1..], [3, 2], [4, 1]);
        let mut out = vec![1.0; 4];
        multiply(&mut out, Write::Replace, view.transposed(), view, false);
        assert_eq!(out, [1. + 25. + 81., 2. + 30. + 90., 122., 4. + 36. + 100.]);
        multiply(&mut out, Write::Add, view.transposed(), view, true);
        assert_eq!(out[0], 2.0 * 107.0);
        let mut row = vec![0.0; 2];
        let one = Matrix::rows(&[1.0], 1, 1);
        multiply(&mut row, Write::Replace, one, view.row_range(2, 1), false);
        assert_eq!(row, [9.0, 10.0]);
    }

    #[test]
    #[should_panic(expected = "in its slice")]
    fn a_matrix_that_is_not_in_its_slice_is_refused() {
        Matrix::new(&[0.0; 5], [2, 3], [3, 1]);
    }
}
