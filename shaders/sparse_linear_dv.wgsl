// Gradient of a sparse delta with respect to its values, in parts of 64 tokens.
//
// parts[p, e] = sum over the tokens t of part p of x[t, col_of[e]] * dy[t, row_of[e]]
//
// Buffers (all f32 or i32; read_write throughout, because CubeCL may place several
// tensors in one GPU buffer, which WebGPU then allows only with one access mode):
//   0  x       [tokens, cols]   input of the layer
//   1  dy      [tokens, rows]   gradient of its output
//   2  index                    positions of the values
//   3  parts   [parts, count]   written; summed over parts afterwards
//   4  params  [4]     tokens, rows, cols, count
// index (apet-kernels, SparseIndex): row_start [rows + 1] | col_of [count] | row_of [count]
//   | col_start [cols + 1] | by_col_row [count] | by_col_value [count]
// Threads: one for each value and part. Cost: O(tokens count).

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;
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
    if (i >= (tokens + 63u) / 64u * count) {
        return;
    }
    let entry = i % count;
    let first = i / count * 64u;
    let end = min(first + 64u, tokens);
    let col = u32(index[rows + 1u + entry]);
    let row = u32(index[rows + 1u + count + entry]);
    var sum = 0.0;
    for (var token = first; token < end; token++) {
        sum += x[token * cols + col] * dy[token * rows + row];
    }
    parts[i] = sum;
}
