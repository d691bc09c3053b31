//! CubeCL kernels with one thread for each row: a norm or softmax is one launch, instead of one for each of its
//! sums, differences and products.

use burn_backend::TensorMetadata;
use burn_cubecl::{kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::{
    cube::{empty, empty_like},
    norm::Normalization,
};

/// Threads for `rows` rows.
fn launch_size(client: &cubecl::client::Client, rows: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, rows);
    (calculate_cube_count_elemwise(client, rows, dim), dim)
}

/// x̂ scale + bias of each row, without bias unless `biased`; shapes as in [`crate::norm()`].
pub(crate) fn norm(
    x: CubeTensor,
    scale: CubeTensor,
    bias: CubeTensor,
    kind: Normalization,
    biased: bool,
) -> CubeTensor {
    // Without a bias, a separate buffer is passed in its place: WebGPU does not bind one twice.
    let bias = if biased { bias } else { empty(&x, [1]) };
    let [x, scale, bias] = [x, scale, bias].map(into_contiguous);
    let (client, shape, y) = (x.client.clone(), x.shape(), empty_like(&x));
    let (rows, width) = (shape[0], shape[1]);
    let (count, dim) = launch_size(&client, rows);
    norm_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        scale.into_buffer_arg(),
        bias.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        rows,
        width,
        kind.epsilon as f32,
        kind.centered,
        biased,
    );
    y
}

/// r (g - mean(g) - x̂ mean(g x̂)) of each row, g = dy scale; without mean(g) unless centered.
pub(crate) fn norm_dx(
    x: CubeTensor,
    scale: CubeTensor,
    dy: CubeTensor,
    kind: Normalization,
) -> CubeTensor {
    let [x, scale, dy] = [x, scale, dy].map(into_contiguous);
    let (client, shape, dx) = (x.client.clone(), x.shape(), empty_like(&x));
    let (rows, width) = (shape[0], shape[1]);
    let (count, dim) = launch_size(&client, rows);
    norm_dx_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        scale.into_buffer_arg(),
        dy.into_buffer_arg(),
        dx.clone().into_buffer_arg(),
        rows,
        width,
        kind.epsilon as f32,
        kind.centered,
    );
    dx
}

/// softmax(factor s + bias) over the last axis, in place of scores s `[rows, heads, length, keys]`, whose
/// memory must not be shared; the bias is broadcast to their shape.
pub(crate) fn softmax(scores: CubeTensor, bias: CubeTensor, factor: f64) -> CubeTensor {
    // The rows of a product may have padding on some devices.
    let [scores, bias] = [scores, bias].map(into_contiguous);
    let (client, shape, of_bias) = (scores.client.clone(), scores.shape(), bias.shape());
    let rows = shape[0] * shape[1] * shape[2];
    let mut strides = [0; 4];
    let mut stride = 1;
    for d in (0..4).rev() {
        strides[d] = if of_bias[d] == 1 { 0 } else { stride };
        stride *= of_bias[d];
    }
    let (count, dim) = launch_size(&client, rows);
    softmax_kernel::launch(
        &client,
        count,
        dim,
        bias.into_buffer_arg(),
        scores.clone().into_buffer_arg(),
        rows,
        shape[1],
        shape[2],
        shape[3],
        strides[0],
        strides[1],
        strides[2],
        strides[3],
        factor as f32,
    );
    scores
}

/// factor p (dp - Σ dp p) over the last axis, in place of dp, whose memory must not be shared: p and dp
/// `[rows, heads, length, keys]`.
pub(crate) fn softmax_dx(p: CubeTensor, dp: CubeTensor, factor: f64) -> CubeTensor {
    let [p, dp] = [p, dp].map(into_contiguous);
    let (client, shape) = (p.client.clone(), p.shape());
    let rows = shape[0] * shape[1] * shape[2];
    let (count, dim) = launch_size(&client, rows);
    softmax_dx_kernel::launch(
        &client,
        count,
        dim,
        p.into_buffer_arg(),
        dp.clone().into_buffer_arg(),
        rows,
        shape[3],
        factor as f32,
    );
    dp
}

/// The sum over the rows: `[rows, width]` to `[width]`.
pub(crate) fn column_sums(x: CubeTensor) -> CubeTensor {
    let x = into_contiguous(x);
    let (client, shape) = (x.client.clone(), x.shape());
    let (rows, width) = (shape[0], shape[1]);
    // Each thread sums some rows, and the partial sums are then added.
    let chunks = rows.div_ceil(CHUNK).max(1);
    let parts = empty(&x, [chunks, width]);
    let (count, dim) = launch_size(&client, chunks * width);
    column_sums_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        parts.clone().into_buffer_arg(),
        chunks * width,
        rows,
        width,
    );
    match chunks {
        1 => to_vector(parts, width),
        _ => column_sums(parts),
    }
}

/// Rows that one thread sums.
const CHUNK: usize = 32;

fn to_vector(x: CubeTensor, width: usize) -> CubeTensor {
    use burn_backend::ops::FloatTensorOps;
    type Cube = burn_cubecl::CubeBackend;
    <Cube as FloatTensorOps<Cube>>::float_reshape(x, [width].into())
}

/// The mean of the row that starts at `from`, and 1 / sqrt(variance + epsilon).
#[cube]
fn row_moments(
    x: &[f32],
    from: usize,
    width: usize,
    epsilon: f32,
    #[comptime] centered: bool,
) -> (f32, f32) {
    let mut mean = 0.0f32;
    if comptime![centered] {
        for i in 0..width {
            mean += x[from + i];
        }
        mean /= f32::cast_from(width);
    }
    let mut variance = 0.0f32;
    for i in 0..width {
        let off = x[from + i] - mean;
        variance += off * off;
    }
    variance /= f32::cast_from(width);
    (mean, 1.0f32 / Sqrt::sqrt(variance + epsilon))
}

#[cube(launch)]
fn norm_kernel(
    x: &[f32],
    scale: &[f32],
    bias: &[f32],
    y: &mut [f32],
    rows: usize,
    width: usize,
    epsilon: f32,
    #[comptime] centered: bool,
    #[comptime] biased: bool,
) {
    if ABSOLUTE_POS < rows {
        let from = ABSOLUTE_POS * width;
        let (mean, r) = row_moments(x, from, width, epsilon, centered);
        for i in 0..width {
            let scaled = (x[from + i] - mean) * r * scale[i];
            if comptime![biased] {
                y[from + i] = scaled + bias[i];
            } else {
                y[from + i] = scaled;
            }
        }
    }
}

#[cube(launch)]
fn norm_dx_kernel(
    x: &[f32],
    scale: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    rows: usize,
    width: usize,
    epsilon: f32,
    #[comptime] centered: bool,
) {
    if ABSOLUTE_POS < rows {
        let from = ABSOLUTE_POS * width;
        let (mean, r) = row_moments(x, from, width, epsilon, centered);
        let mut total = 0.0f32;
        let mut slope = 0.0f32;
        for i in 0..width {
            let g = dy[from + i] * scale[i];
            total += g;
            slope += g * (x[from + i] - mean) * r;
        }
        total /= f32::cast_from(width);
        slope /= f32::cast_from(width);
        for i in 0..width {
            let g = dy[from + i] * scale[i];
            let normalized = (x[from + i] - mean) * r;
            if comptime![centered] {
                dx[from + i] = (g - total - normalized * slope) * r;
            } else {
                dx[from + i] = (g - normalized * slope) * r;
            }
        }
    }
}

#[cube(launch)]
fn softmax_kernel(
    bias: &[f32],
    scores: &mut [f32],
    rows: usize,
    heads: usize,
    length: usize,
    keys: usize,
    of_row: usize,
    of_head: usize,
    of_query: usize,
    of_key: usize,
    factor: f32,
) {
    if ABSOLUTE_POS < rows {
        let from = ABSOLUTE_POS * keys;
        let query = ABSOLUTE_POS % length;
        let head = ABSOLUTE_POS / length % heads;
        let row = ABSOLUTE_POS / length / heads;
        let beside = row * of_row + head * of_head + query * of_query;
        let mut largest = factor * scores[from] + bias[beside];
        for i in 0..keys {
            let s = factor * scores[from + i] + bias[beside + i * of_key];
            scores[from + i] = s;
            largest = max(largest, s);
        }
        let mut sum = 0.0f32;
        for i in 0..keys {
            let e = Exp::exp(scores[from + i] - largest);
            scores[from + i] = e;
            sum += e;
        }
        for i in 0..keys {
            scores[from + i] /= sum;
        }
    }
}

#[cube(launch)]
fn softmax_dx_kernel(p: &[f32], dp: &mut [f32], rows: usize, keys: usize, factor: f32) {
    if ABSOLUTE_POS < rows {
        let from = ABSOLUTE_POS * keys;
        let mut sum = 0.0f32;
        for i in 0..keys {
            sum += p[from + i] * dp[from + i];
        }
        for i in 0..keys {
            dp[from + i] = factor * p[from + i] * (dp[from + i] - sum);
        }
    }
}

#[cube(launch)]
fn column_sums_kernel(x: &[f32], parts: &mut [f32], size: usize, rows: usize, width: usize) {
    if ABSOLUTE_POS < size {
        let column = ABSOLUTE_POS % width;
        let first = ABSOLUTE_POS / width * CHUNK;
        let mut end = first + CHUNK;
        if end > rows {
            end = rows;
        }
        let mut sum = 0.0f32;
        for row in first..end {
            sum += x[row * width + column];
        }
        parts[ABSOLUTE_POS] = sum;
    }
}
