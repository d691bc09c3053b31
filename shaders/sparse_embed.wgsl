// Adds a sparse delta to the rows looked up in a table.
//
// out[t, c] = y[t, c] + sum over the entries (ids[t], c, v) of v
//
// Buffers (all f32 or i32; read_write throughout, because CubeCL may place several
// tensors in one GPU buffer, which WebGPU then allows only with one access mode):
//   0  y       [tokens, cols]   rows of the frozen table
//   1  values  [count]          the delta's values
//   2  ids     [tokens]         the rows looked up
//   3  index                    positions of the values
//   4  result  [tokens, cols]   written
//   5  params  [4]     tokens, rows, cols, count
// index (apet-kernels, SparseIndex): row_start [rows + 1] | col_of [count] | row_of [count]
//   | col_start [cols + 1] | by_col_row [count] | by_col_value [count]
// Threads: one for each element of out. Cost: O(tokens cols (1 + entries of a row)).

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> index: array<i32>;
@group(0) @binding(4) var<storage, read_write> result: array<f32>;
@group(0) @binding(5) var<storage, read> params: array<u32>;

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
    if (i >= tokens * cols) {
        return;
    }
    let col = i % cols;
    let row = u32(ids[i / cols]);
    let end = u32(index[row + 1u]);
    var sum = y[i];
    for (var entry = u32(index[row]); entry < end; entry++) {
        if (u32(index[rows + 1u + entry]) == col) {
            sum += values[entry];
        }
    }
    result[i] = sum;
}
