// Gradient of a sparse delta with respect to the layer's input.
//
// dx[t, c] = sum over the entries (r, c, v) of column c of v * dy[t, r]
//
// Buffers (all f32 or i32; read_write throughout, because CubeCL may place several
// tensors in one GPU buffer, which WebGPU then allows only with one access mode):
//   0  dy      [tokens, rows]   gradient of the output
//   1  values  [count]          the delta's values
//   2  index                    positions of the values
//   3  dx      [tokens, cols]   written
//   4  params  [4]     tokens, rows, cols, count
// index (apet-kernels, SparseIndex): row_start [rows + 1] | col_of [count] | row_of [count]
//   | col_start [cols + 1] | by_col_row [count] | by_col_value [count]
// Threads: one for each element of dx. Cost: O(tokens (cols + count)).

@group(0) @binding(0) var<storage, read_write> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(4) var<storage, read> params: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + local;
    let tokens = params[0];
    let rows = params[1];
    let cols = params[2];
    let count = params[3];
    if (i >= tokens * cols) {
        return;
    }
    let token = i / cols;
    let col = i % cols;
    let col_start = rows + 1u + 2u * count;
    let by_col_row = col_start + cols + 1u;
    let by_col_value = by_col_row + count;
    let end = u32(index[col_start + col + 1u]);
    var sum = 0.0;
    for (var place = u32(index[col_start + col]); place < end; place++) {
        let row = u32(index[by_col_row + place]);
        let entry = u32(index[by_col_value + place]);
        sum += values[entry] * dy[token * rows + row];
    }
    dx[i] = sum;
}
