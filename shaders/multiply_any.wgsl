// c = a b + bias for factors of any strides and sizes: every product that the vec4 shaders do not support, such as the
// scores of two classes.
//
// Two batch axes, each with its own stride; the strides of a and b along rows and along the summed axis
// are in params.
//
// Buffers (all f32 except params; all read_write except params, because CubeCL may place several
// tensors in one GPU buffer, which WebGPU then allows only with one access mode):
//   0  a
//   1  b
//   2  bias    [n], if there is one; otherwise any buffer, not read
//   3  c       written
//   4  params  m, n, k, size of the second batch axis; then the strides of a and b: along m or n, along k, first batch
//              axis, second batch axis; those of c: rows, first batch axis, second batch axis;
//              then 1 if there is a bias
// Threads: one for an element of c. Cost: O(m n k).

@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(0) @binding(4) var<storage, read> params: array<u32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params[1] || id.y >= params[0]) {
        return;
    }
    let outer = id.z / params[3];
    let inner = id.z % params[3];
    var at_a = outer * params[6] + inner * params[7] + id.y * params[4];
    var at_b = outer * params[10] + inner * params[11] + id.x * params[8];
    var sum = 0.0;
    for (var k = 0u; k < params[2]; k++) {
        sum += a[at_a] * b[at_b];
        at_a += params[5];
        at_b += params[9];
    }
    if (params[15] == 1u) {
        sum += bias[id.x];
    }
    c[outer * params[13] + inner * params[14] + id.y * params[12] + id.x] = sum;
}
