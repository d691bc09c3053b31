// c = aᵀ b + bias: a [k, m], b [k, n], c [m, n]; m and n multiples of 4.
//
// Two batch axes (for attention: rows and heads), each with its own stride. The strides between the rows of a, b and
// c are in params; the elements of a row are contiguous and read as vec4.
//
// Buffers (all f32 except params; all read_write except params, because CubeCL may place several
// tensors in one GPU buffer, which WebGPU then allows only with one access mode):
//   0  a
//   1  b
//   2  bias    [n], if there is one; otherwise any buffer, not read
//   3  c       written
//   4  params  m, n, k, size of the second batch axis; then for each of a, b and c the strides in vec4:
//              rows, first batch axis, second batch axis; then 1 if there is a bias
// Threads: one for 8 x 4 elements of c, without workgroup memory or barriers, which cost most on a
// processor (docs/performance.md). Cost: O(m n k).

@group(0) @binding(0) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> params: array<u32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = params[0];
    let n = params[1] / 4u;
    let column = id.x;
    let first = id.y * 8u;
    if (column >= n || first >= m) {
        return;
    }
    let outer = id.z / params[3];
    let inner = id.z % params[3];
    let of_a = outer * params[5] + inner * params[6];
    let of_b = outer * params[8] + inner * params[9];
    let of_c = outer * params[11] + inner * params[12] + column;
    let two = first + 4u < m;
    let left = of_a + first / 4u;
    let right = select(left, left + 1u, two);
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var c4 = vec4<f32>();
    var c5 = vec4<f32>();
    var c6 = vec4<f32>();
    var c7 = vec4<f32>();
    for (var k = 0u; k < params[2]; k++) {
        let y = b[of_b + k * params[7] + column];
        let x = a[left + k * params[4]];
        let z = a[right + k * params[4]];
        c0 += x.x * y;
        c1 += x.y * y;
        c2 += x.z * y;
        c3 += x.w * y;
        c4 += z.x * y;
        c5 += z.y * y;
        c6 += z.z * y;
        c7 += z.w * y;
    }
    if (params[13] == 1u) {
        let added = bias[column];
        c0 += added;
        c1 += added;
        c2 += added;
        c3 += added;
        c4 += added;
        c5 += added;
        c6 += added;
        c7 += added;
    }
    c[of_c + (first + 0u) * params[10]] = c0;
    c[of_c + (first + 1u) * params[10]] = c1;
    c[of_c + (first + 2u) * params[10]] = c2;
    c[of_c + (first + 3u) * params[10]] = c3;
    if (two) {
        c[of_c + (first + 4u) * params[10]] = c4;
        c[of_c + (first + 5u) * params[10]] = c5;
        c[of_c + (first + 6u) * params[10]] = c6;
        c[of_c + (first + 7u) * params[10]] = c7;
    }
}
