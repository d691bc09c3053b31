// Adds a sparse delta to a linear layer's output.
//
// out[t, r] = y[t, r] + sum over the entries (r, c, v) of row r of v * x[t, c]
//
// Buffers (all f32 or i32; read_write throughout, because CubeCL may place several
// tensors in one GPU buffer, which WebGPU then allows only with one access mode):
//   0  y       [tokens, rows]   output of the frozen layer
//   1  x       [tokens, cols]   its input
//   2  values  [count]          the delta's values
//   3  index                    positions of the values
//   4  result  [tokens, rows]   written
//   5  params  [4]     tokens, rows, cols, count
// index (apet-kernels, SparseIndex): row_start [rows + 1] | col_of [count] | row_of [count]
//   | col_start [cols + 1] | by_col_row [count] | by_col_value [count]
// Threads: one for each element of out. Cost: O(tokens (rows + count)).

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
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
    if (i >= tokens * rows) {
        return;
    }
    let token = i / rows;
    let row = i % rows;
    let end = u32(index[row + 1u]);
    var sum = y[i];
    for (var entry = u32(index[row]); entry < end; entry++) {
        let col = u32(index[rows + 1u + entry]);
        sum += values[entry] * x[token * cols + col];
    }
    result[i] = sum;
}
