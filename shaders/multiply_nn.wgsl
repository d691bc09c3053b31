// c = a b + bias: a [m, k], b [k, n], c [m, n]; k and n multiples of 4.
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
    let last = m - 1u;
    let a0 = of_a + min(first + 0u, last) * params[4];
    let a1 = of_a + min(first + 1u, last) * params[4];
    let a2 = of_a + min(first + 2u, last) * params[4];
    let a3 = of_a + min(first + 3u, last) * params[4];
    let a4 = of_a + min(first + 4u, last) * params[4];
    let a5 = of_a + min(first + 5u, last) * params[4];
    let a6 = of_a + min(first + 6u, last) * params[4];
    let a7 = of_a + min(first + 7u, last) * params[4];
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var c4 = vec4<f32>();
    var c5 = vec4<f32>();
    var c6 = vec4<f32>();
    var c7 = vec4<f32>();
    let depth = params[2] / 4u;
    for (var k = 0u; k < depth; k++) {
        let start = of_b + k * 4u * params[7] + column;
        let y0 = b[start + 0u * params[7]];
        let y1 = b[start + 1u * params[7]];
        let y2 = b[start + 2u * params[7]];
        let y3 = b[start + 3u * params[7]];
        let x0 = a[a0 + k];
        c0 += x0.x * y0 + x0.y * y1 + x0.z * y2 + x0.w * y3;
        let x1 = a[a1 + k];
        c1 += x1.x * y0 + x1.y * y1 + x1.z * y2 + x1.w * y3;
        let x2 = a[a2 + k];
        c2 += x2.x * y0 + x2.y * y1 + x2.z * y2 + x2.w * y3;
        let x3 = a[a3 + k];
        c3 += x3.x * y0 + x3.y * y1 + x3.z * y2 + x3.w * y3;
        let x4 = a[a4 + k];
        c4 += x4.x * y0 + x4.y * y1 + x4.z * y2 + x4.w * y3;
        let x5 = a[a5 + k];
        c5 += x5.x * y0 + x5.y * y1 + x5.z * y2 + x5.w * y3;
        let x6 = a[a6 + k];
        c6 += x6.x * y0 + x6.y * y1 + x6.z * y2 + x6.w * y3;
        let x7 = a[a7 + k];
        c7 += x7.x * y0 + x7.y * y1 + x7.z * y2 + x7.w * y3;
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
    if (first + 1u < m) {
        c[of_c + (first + 1u) * params[10]] = c1;
    }
    if (first + 2u < m) {
        c[of_c + (first + 2u) * params[10]] = c2;
    }
    if (first + 3u < m) {
        c[of_c + (first + 3u) * params[10]] = c3;
    }
    if (first + 4u < m) {
        c[of_c + (first + 4u) * params[10]] = c4;
    }
    if (first + 5u < m) {
        c[of_c + (first + 5u) * params[10]] = c5;
    }
    if (first + 6u < m) {
        c[of_c + (first + 6u) * params[10]] = c6;
    }
    if (first + 7u < m) {
        c[of_c + (first + 7u) * params[10]] = c7;
    }
}
