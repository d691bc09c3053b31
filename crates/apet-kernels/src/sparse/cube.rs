//! The sparse operations on GPUs: a CubeCL kernel for each, and the WGSL of `shaders/`
//! if CubeCL compiles to WGSL (the browser, the default native build).

use burn::{
    backend::tensor::{FloatTensor, IntTensor},
    tensor::Shape,
};
use burn_backend::{TensorMetadata, ops::FloatTensorOps};
use burn_cubecl::{
    CubeBackend,
    kernel::into_contiguous,
    template::{KernelSource, SourceTemplate},
    tensor::CubeTensor,
};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{Dims, SparseOps};
use crate::cube::{empty, empty_like, launch_wgsl, supports_wgsl};

/// Tokens one thread sums for dv; the partial sums are then added.
const CHUNK: usize = 64;
/// Threads of a WGSL workgroup, as in the shaders.
const WORKGROUP: u32 = 64;

impl SparseOps for CubeBackend {
    fn sparse_linear(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let out = empty_like(&y);
        let size = out.shape().num_elements();
        run(
            [y, x, values, index],
            &out,
            size,
            [size / dims.rows, dims.rows, dims.cols, dims.count],
            Wgsl::Linear,
            |client, count, dim, [y, x, values, index], out| {
                linear::launch(
                    client, count, dim, y, x, values, index, out, size, dims.rows, dims.cols,
                    dims.count,
                );
            },
        );
        out
    }

    fn sparse_linear_dx(
        dy: FloatTensor<Self>,
        values: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let tokens = dy.shape().num_elements() / dims.rows;
        let size = tokens * dims.cols;
        let dx = empty(&dy, Shape::from([tokens, dims.cols]));
        run(
            [dy, values, index],
            &dx,
            size,
            [tokens, dims.rows, dims.cols, dims.count],
            Wgsl::LinearDx,
            |client, count, dim, [dy, values, index], dx| {
                linear_dx::launch(
                    client, count, dim, dy, values, index, dx, size, dims.rows, dims.cols,
                    dims.count,
                );
            },
        );
        dx
    }

    fn sparse_linear_dv(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let tokens = dy.shape().num_elements() / dims.rows;
        let chunks = tokens.div_ceil(CHUNK);
        let size = chunks * dims.count;
        let parts = empty(&dy, Shape::from([chunks, dims.count]));
        run(
            [x, dy, index],
            &parts,
            size,
            [tokens, dims.rows, dims.cols, dims.count],
            Wgsl::LinearDv,
            |client, count, dim, [x, dy, index], parts| {
                linear_dv::launch(
                    client, count, dim, x, dy, index, parts, size, tokens, dims.rows, dims.cols,
                    dims.count,
                );
            },
        );
        sum_parts(parts, dims.count)
    }

    fn sparse_embed(
        y: FloatTensor<Self>,
        values: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let out = empty_like(&y);
        let size = out.shape().num_elements();
        run(
            [y, values, ids, index],
            &out,
            size,
            [size / dims.cols, dims.rows, dims.cols, dims.count],
            Wgsl::Embed,
            |client, count, dim, [y, values, ids, index], out| {
                embed::launch(
                    client, count, dim, y, values, ids, index, out, size, dims.rows, dims.cols,
                );
            },
        );
        out
    }

    fn sparse_embed_dv(
        dy: FloatTensor<Self>,
        ids: IntTensor<Self>,
        index: IntTensor<Self>,
        dims: Dims,
    ) -> FloatTensor<Self> {
        let tokens = dy.shape().num_elements() / dims.cols;
        let chunks = tokens.div_ceil(CHUNK);
        let size = chunks * dims.count;
        let parts = empty(&dy, Shape::from([chunks, dims.count]));
        run(
            [dy, ids, index],
            &parts,
            size,
            [tokens, dims.rows, dims.cols, dims.count],
            Wgsl::EmbedDv,
            |client, count, dim, [dy, ids, index], parts| {
                embed_dv::launch(
                    client, count, dim, dy, ids, index, parts, size, tokens, dims.rows, dims.cols,
                    dims.count,
                );
            },
        );
        sum_parts(parts, dims.count)
    }
}

fn sum_parts(parts: CubeTensor, count: usize) -> CubeTensor {
    let sum = <CubeBackend as FloatTensorOps<CubeBackend>>::float_sum_dim(parts, 0);
    <CubeBackend as FloatTensorOps<CubeBackend>>::float_reshape(sum, Shape::from([count]))
}

/// Launches one kernel of `size` threads on `inputs` and `out`, in the selected language.
fn run<const N: usize>(
    inputs: [CubeTensor; N],
    out: &CubeTensor,
    size: usize,
    params: [usize; 4],
    wgsl: Wgsl,
    cube: impl FnOnce(&cubecl::client::Client, CubeCount, CubeDim, [BufferArg; N], BufferArg),
) {
    let client = out.client.clone();
    let inputs = inputs.map(into_contiguous);
    if size == 0 {
        return;
    }
    if supports_wgsl(out) {
        let dim = CubeDim::new_1d(WORKGROUP);
        let count = calculate_cube_count_elemwise(&client, size, dim);
        let buffers: Vec<&CubeTensor> = inputs.iter().chain([out]).collect();
        let params = params.map(|param| param as u32);
        launch_wgsl(wgsl, dim, count, &buffers, &params);
        return;
    }
    let dim = CubeDim::new(&client, size);
    let count = calculate_cube_count_elemwise(&client, size, dim);
    let inputs = inputs.map(CubeTensor::into_buffer_arg);
    cube(&client, count, dim, inputs, out.clone().into_buffer_arg());
}

/// The shaders of `shaders/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wgsl {
    Linear,
    LinearDx,
    LinearDv,
    Embed,
    EmbedDv,
}

impl KernelSource for Wgsl {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(match self {
            Self::Linear => include_str!("../../../../shaders/sparse_linear.wgsl"),
            Self::LinearDx => include_str!("../../../../shaders/sparse_linear_dx.wgsl"),
            Self::LinearDv => include_str!("../../../../shaders/sparse_linear_dv.wgsl"),
            Self::Embed => include_str!("../../../../shaders/sparse_embed.wgsl"),
            Self::EmbedDv => include_str!("../../../../shaders/sparse_embed_dv.wgsl"),
        })
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(*self)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

#[cube(launch)]
fn linear(
    y: &[f32],
    x: &[f32],
    values: &[f32],
    index: &[i32],
    out: &mut [f32],
    size: usize,
    rows: usize,
    cols: usize,
    _count: usize,
) {
    if ABSOLUTE_POS < size {
        let token = ABSOLUTE_POS / rows;
        let row = ABSOLUTE_POS % rows;
        let mut sum = y[ABSOLUTE_POS];
        for entry in usize::cast_from(index[row])..usize::cast_from(index[row + 1]) {
            let col = usize::cast_from(index[rows + 1 + entry]);
            sum += values[entry] * x[token * cols + col];
        }
        out[ABSOLUTE_POS] = sum;
    }
}

#[cube(launch)]
fn linear_dx(
    dy: &[f32],
    values: &[f32],
    index: &[i32],
    dx: &mut [f32],
    size: usize,
    rows: usize,
    cols: usize,
    count: usize,
) {
    if ABSOLUTE_POS < size {
        let token = ABSOLUTE_POS / cols;
        let col = ABSOLUTE_POS % cols;
        let col_start = rows + 1 + 2 * count;
        let by_col_row = col_start + cols + 1;
        let by_col_value = by_col_row + count;
        let mut sum = 0.0f32;
        let first = usize::cast_from(index[col_start + col]);
        let end = usize::cast_from(index[col_start + col + 1]);
        for place in first..end {
            let row = usize::cast_from(index[by_col_row + place]);
            let entry = usize::cast_from(index[by_col_value + place]);
            sum += values[entry] * dy[token * rows + row];
        }
        dx[ABSOLUTE_POS] = sum;
    }
}

#[cube(launch)]
fn linear_dv(
    x: &[f32],
    dy: &[f32],
    index: &[i32],
    parts: &mut [f32],
    size: usize,
    tokens: usize,
    rows: usize,
    cols: usize,
    count: usize,
) {
    if ABSOLUTE_POS < size {
        let entry = ABSOLUTE_POS % count;
        let first = ABSOLUTE_POS / count * CHUNK;
        let col = usize::cast_from(index[rows + 1 + entry]);
        let row = usize::cast_from(index[rows + 1 + count + entry]);
        let mut sum = 0.0f32;
        let mut end = first + CHUNK;
        if end > tokens {
            end = tokens;
        }
        for token in first..end {
            sum += x[token * cols + col] * dy[token * rows + row];
        }
        parts[ABSOLUTE_POS] = sum;
    }
}

#[cube(launch)]
fn embed(
    y: &[f32],
    values: &[f32],
    ids: &[i32],
    index: &[i32],
    out: &mut [f32],
    size: usize,
    rows: usize,
    cols: usize,
) {
    if ABSOLUTE_POS < size {
        let col = ABSOLUTE_POS % cols;
        let row = usize::cast_from(ids[ABSOLUTE_POS / cols]);
        let mut sum = y[ABSOLUTE_POS];
        for entry in usize::cast_from(index[row])..usize::cast_from(index[row + 1]) {
            if usize::cast_from(index[rows + 1 + entry]) == col {
                sum += values[entry];
            }
        }
        out[ABSOLUTE_POS] = sum;
    }
}

#[cube(launch)]
fn embed_dv(
    dy: &[f32],
    ids: &[i32],
    index: &[i32],
    parts: &mut [f32],
    size: usize,
    tokens: usize,
    rows: usize,
    cols: usize,
    count: usize,
) {
    if ABSOLUTE_POS < size {
        let entry = ABSOLUTE_POS % count;
        let first = ABSOLUTE_POS / count * CHUNK;
        let col = usize::cast_from(index[rows + 1 + entry]);
        let row = index[rows + 1 + count + entry];
        let mut sum = 0.0f32;
        let mut end = first + CHUNK;
        if end > tokens {
            end = tokens;
        }
        for token in first..end {
            if ids[token] == row {
                sum += dy[token * cols + col];
            }
        }
        parts[ABSOLUTE_POS] = sum;
    }
}
