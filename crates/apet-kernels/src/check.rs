//! One numeric suite for every device: compares each operation and its gradients
//! with double-precision arithmetic on the host, gradients by finite differences.
//!
//! The tests run it on `cpu` and lavapipe, the browser tests run it in the page, and
//! `apet check` on a user's device.

mod host;
mod training;

use apet_record::Stream;
use burn::{
    Tensor,
    tensor::{DType, Device, Int, TensorData},
};

pub use self::host::Check;
use self::host::{Host, compare, floats, measure};
use crate::{
    Normalization, SparseIndex, attention, gelu, gelu_tanh, linear as linear_of,
    linear_with_sparse, norm, sparse_embed, sparse_linear,
};

/// Runs the suite.
///
/// # Errors
/// If the device fails.
pub async fn check(device: &Device) -> Result<Vec<Check>, String> {
    let mut checks = Vec::new();
    for (tokens, rows, cols, share) in [(5, 7, 6, 0.4), (150, 40, 33, 0.05), (70, 3, 1, 1.0)] {
        linear(device, tokens, rows, cols, share, &mut checks).await?;
        embed(device, tokens, rows, cols, share, &mut checks).await?;
    }
    for (size, count, biased) in [
        ([35, 24, 20], 1, true),
        ([35, 24, 20], 2, false),
        ([35, 24, 20], 90, true),
        ([35, 24, 20], 480, false),
        // Sizes that no vec4 shader supports.
        ([9, 7, 5], 2, true),
        ([6, 2, 8], 1, false),
    ] {
        whole(device, size, count, biased, &mut checks).await?;
    }
    elementwise(device, &mut checks).await?;
    for (rows, width) in [(9, 21), (140, 64)] {
        for (centered, biased) in [(true, true), (false, false)] {
            norms(device, rows, width, centered, biased, &mut checks).await?;
        }
    }
    for (length, keys, width) in [(5, 5, 6), (3, 7, 8), (6, 8, 4), (130, 40, 8)] {
        attend(device, length, keys, width, &mut checks).await?;
    }
    for rows in [1, 3, 4, 11, 16, 17, 40] {
        product(device, rows, &mut checks).await?;
    }
    training::loss(device, &mut checks).await?;
    for by_scalar in [false, true] {
        training::updates(device, by_scalar, &mut checks).await?;
    }
    Ok(checks)
}

async fn linear(
    device: &Device,
    tokens: usize,
    rows: usize,
    cols: usize,
    share: f64,
    checks: &mut Vec<Check>,
) -> Result<(), String> {
    let mut stream = Stream::new("check", (tokens * rows) as u64);
    let positions = places(rows, cols, share, &mut stream);
    let index = SparseIndex::new(rows, cols, &positions, device);
    let y = Host::random(tokens, rows, &mut stream);
    let x = Host::random(tokens, cols, &mut stream);
    let v = Host::random(1, positions.len(), &mut stream);
    let weight = Host::random(tokens, rows, &mut stream);
    let forward = |inputs: &[Vec<f64>]| -> Vec<f64> {
        let mut out = inputs[0].clone();
        for (entry, &p) in positions.iter().enumerate() {
            let (row, col) = (p as usize / cols, p as usize % cols);
            for t in 0..tokens {
                out[t * rows + row] += inputs[2][entry] * inputs[1][t * cols + col];
            }
        }
        out
    };
    let leaves = [&y, &x, &v].map(|h| h.tensor(device).autodiff().require_grad());
    let [ty, tx, tv] = leaves.clone();
    let values = tv.reshape([positions.len()]);
    let out = sparse_linear(ty, tx, values, &index);
    let names = ["dy", "dx", "dv"];
    let what = format!("sparse_linear {tokens}x{rows}x{cols}");
    compare(
        &what,
        &names,
        &[&y, &x, &v],
        &leaves,
        out,
        &weight,
        forward,
        checks,
    )
    .await
}

/// A layer with a sparse delta on its weight, frozen and trainable: with few values, and with enough for a dense
/// product.
async fn whole(
    device: &Device,
    [tokens, rows, cols]: [usize; 3],
    count: usize,
    biased: bool,
    checks: &mut Vec<Check>,
) -> Result<(), String> {
    let mut stream = Stream::new("check whole", count as u64);
    let positions = stream.sample((rows * cols) as u64, count as u64);
    let index = SparseIndex::new(rows, cols, &positions, device);
    let x = Host::random(tokens, cols, &mut stream);
    let w = Host::random(rows, cols, &mut stream);
    let v = Host::random(1, count, &mut stream);
    let b = Host::random(1, rows, &mut stream);
    let weight = Host::random(tokens, rows, &mut stream);
    let forward = |inputs: &[Vec<f64>]| -> Vec<f64> {
        let mut sum = inputs[1].clone();
        for (v, &p) in inputs[2].iter().zip(&positions) {
            sum[p as usize] += v;
        }
        let of_token = |x: &[f64]| -> Vec<f64> {
            let dot = |w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
            let bias = |row: usize| if biased { b.data[row] } else { 0.0 };
            let rows = sum.chunks_exact(cols).enumerate();
            rows.map(|(row, w)| dot(w) + bias(row)).collect()
        };
        inputs[0].chunks_exact(cols).flat_map(of_token).collect()
    };
    let bias = biased.then(|| b.tensor(device).reshape([rows]).autodiff());
    for tuned in [false, true] {
        let [tx, tv] = [&x, &v].map(|h| h.tensor(device).autodiff().require_grad());
        let tw = w.tensor(device).autodiff();
        let tw = if tuned { tw.require_grad() } else { tw };
        let values = tv.clone().reshape([count]);
        let out = linear_with_sparse(tx.clone(), tw.clone(), bias.clone(), values, &index);
        let what = format!(
            "linear {tokens}x{rows}x{cols} with {count} sparse, bias {biased}, tuned {tuned},"
        );
        let inputs = [&x, &v, &w];
        // The weight is last, so that it can be omitted.
        let reorder = |values: &[Vec<f64>]| {
            let w = values.get(2).unwrap_or(&w.data).clone();
            forward(&[values[0].clone(), w, values[1].clone()])
        };
        let some = if tuned { 3 } else { 2 };
        compare(
            &what,
            &["dx", "dv", "dw"][..some],
            &inputs[..some],
            &[tx, tv, tw][..some],
            out,
            &weight,
            reorder,
            checks,
        )
        .await?;
    }
    Ok(())
}

async fn embed(
    device: &Device,
    tokens: usize,
    rows: usize,
    cols: usize,
    share: f64,
    checks: &mut Vec<Check>,
) -> Result<(), String> {
    let mut stream = Stream::new("check embed", (tokens * rows) as u64);
    let positions = places(rows, cols, share, &mut stream);
    let index = SparseIndex::new(rows, cols, &positions, device);
    let ids: Vec<i32> = (0..tokens)
        .map(|_| stream.below(rows as u64) as i32)
        .collect();
    let y = Host::random(tokens, cols, &mut stream);
    let v = Host::random(1, positions.len(), &mut stream);
    let weight = Host::random(tokens, cols, &mut stream);
    let forward = |inputs: &[Vec<f64>]| -> Vec<f64> {
        let mut out = inputs[0].clone();
        for (entry, &p) in positions.iter().enumerate() {
            let (row, col) = (p as usize / cols, p as usize % cols);
            for (t, &id) in ids.iter().enumerate() {
                if id as usize == row {
                    out[t * cols + col] += inputs[1][entry];
                }
            }
        }
        out
    };
    let leaves = [&y, &v].map(|h| h.tensor(device).autodiff().require_grad());
    let [ty, tv] = leaves.clone();
    let values = tv.reshape([positions.len()]);
    let data = TensorData::new(ids.clone(), [tokens]);
    let id_tensor = Tensor::<1, Int>::from_data(data, (device, DType::I32));
    let out = sparse_embed(ty, values, id_tensor, &index);
    let what = format!("sparse_embed {tokens}x{rows}x{cols}");
    compare(
        &what,
        &["dy", "dv"],
        &[&y, &v],
        &leaves,
        out,
        &weight,
        forward,
        checks,
    )
    .await
}

async fn elementwise(device: &Device, checks: &mut Vec<Check>) -> Result<(), String> {
    let (rows, cols) = (9, 21);
    let mut stream = Stream::new("check elementwise", 0);
    let x = Host::random(rows, cols, &mut stream);
    let weight = Host::random(rows, cols, &mut stream);
    let host_gelu = |inputs: &[Vec<f64>]| -> Vec<f64> {
        let gelu = |&v: &f64| 0.5 * v * (1.0 + libm::erf(v / std::f64::consts::SQRT_2));
        inputs[0].iter().map(gelu).collect()
    };
    let host_gelu_tanh = |inputs: &[Vec<f64>]| -> Vec<f64> {
        let c = (2.0 / std::f64::consts::PI).sqrt();
        let gelu = |&v: &f64| 0.5 * v * (1.0 + (c * (v + 0.044715 * v * v * v)).tanh());
        inputs[0].iter().map(gelu).collect()
    };
    // The tanh form saturates for large inputs, and must not become NaN.
    let far = Host {
        rows: 1,
        cols: 8,
        data: vec![-1e4, -300.0, -30.0, -9.0, 9.0, 30.0, 300.0, 1e4],
    };
    let leaf = far.tensor(device).autodiff().require_grad();
    let out = gelu_tanh(leaf.clone());
    let found = floats(out.clone().inner()).await?;
    let ends: Vec<f64> = far.data.iter().map(|v| v.max(0.0)).collect();
    checks.push(measure("gelu_tanh far out".into(), &found, &ends));
    let gradient = leaf.grad(&out.sum().backward());
    let gradient = gradient.ok_or("gelu_tanh of large inputs: no gradient")?;
    let slopes = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
    checks.push(measure(
        "gelu_tanh far out dx".into(),
        &floats(gradient).await?,
        &slopes,
    ));
    type OnHost<'a> = &'a dyn Fn(&[Vec<f64>]) -> Vec<f64>;
    type OnDevice<'a> = &'a dyn Fn(Tensor<2>) -> Tensor<2>;
    let operations: [(&str, OnHost<'_>, OnDevice<'_>); 2] = [
        ("gelu", &host_gelu, &gelu),
        ("gelu_tanh", &host_gelu_tanh, &gelu_tanh),
    ];
    for (what, on_host, on_device) in operations {
        let leaves = [x.tensor(device).autodiff().require_grad()];
        let out = on_device(leaves[0].clone());
        compare(what, &["dx"], &[&x], &leaves, out, &weight, on_host, checks).await?;
    }
    Ok(())
}

async fn norms(
    device: &Device,
    rows: usize,
    width: usize,
    centered: bool,
    biased: bool,
    checks: &mut Vec<Check>,
) -> Result<(), String> {
    let mut stream = Stream::new("check norm", (rows * width) as u64);
    let x = Host::random(rows, width, &mut stream);
    let [scale, bias] = [1, 1].map(|rows| Host::random(rows, width, &mut stream));
    let weight = Host::random(rows, width, &mut stream);
    let kind = Normalization {
        epsilon: 1e-5,
        centered,
    };
    let forward = |inputs: &[Vec<f64>]| -> Vec<f64> {
        let of_row = |x: &[f64]| -> Vec<f64> {
            let mean = match centered {
                true => x.iter().sum::<f64>() / width as f64,
                false => 0.0,
            };
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            let r = 1.0 / (variance + 1e-5).sqrt();
            let scaled = x.iter().zip(&inputs[1]).map(|(v, s)| (v - mean) * r * s);
            match biased {
                true => scaled.zip(&inputs[2]).map(|(y, b)| y + b).collect(),
                false => scaled.collect(),
            }
        };
        inputs[0].chunks_exact(width).flat_map(of_row).collect()
    };
    let leaves = [&x, &scale, &bias].map(|h| h.tensor(device).autodiff().require_grad());
    let [tx, scales, biases] = leaves.clone();
    let biases = biased.then(|| biases.reshape([width]));
    let out = norm(tx, scales.reshape([width]), biases, kind);
    let count = if biased { 3 } else { 2 };
    let kind = if centered { "layer" } else { "rms" };
    compare(
        &format!("{kind} norm {rows}x{width}"),
        &["dx", "dscale", "dbias"][..count],
        &[&x, &scale, &bias][..count],
        &leaves[..count],
        out,
        &weight,
        forward,
        checks,
    )
    .await
}

/// Attention of two rows with two heads; a bias for every row and key, and for every head and pair.
async fn attend(
    device: &Device,
    length: usize,
    keys: usize,
    width: usize,
    checks: &mut Vec<Check>,
) -> Result<(), String> {
    let (rows, heads, factor) = (2, 2, 0.4);
    for biases in [[rows, 1, 1, keys], [1, heads, length, keys]] {
        let mut stream = Stream::new("check attention", (length * keys) as u64);
        let [q, weight] = [length; 2].map(|n| Host::random(rows * n, heads * width, &mut stream));
        let [k, v] = [keys; 2].map(|n| Host::random(rows * n, heads * width, &mut stream));
        let count: usize = biases.iter().product();
        let bias = Host::random(1, count, &mut stream);
        let forward = |inputs: &[Vec<f64>]| -> Vec<f64> {
            let mut y = vec![0.0; rows * length * heads * width];
            let vector = |of: &[f64], row: usize, tokens: usize, token: usize, head: usize| {
                let from = ((row * tokens + token) * heads + head) * width;
                of[from..from + width].to_vec()
            };
            for at in 0..rows * heads * length {
                let (row, head, i) = (at / (heads * length), at / length % heads, at % length);
                let query = vector(&inputs[0], row, length, i, head);
                let of_key = |j: usize| {
                    let key = vector(&inputs[1], row, keys, j, head);
                    let dot: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                    let place = [row, head, i, j].into_iter().zip(biases);
                    let place = place.fold(0, |p, (at, n)| p * n + at.min(n - 1));
                    (factor * dot + inputs[3][place]).exp()
                };
                let weights: Vec<f64> = (0..keys).map(of_key).collect();
                let sum: f64 = weights.iter().sum();
                let from = ((row * length + i) * heads + head) * width;
                for (j, w) in weights.iter().enumerate() {
                    let value = vector(&inputs[2], row, keys, j, head);
                    for (y, v) in y[from..from + width].iter_mut().zip(value) {
                        *y += w / sum * v;
                    }
                }
            }
            y
        };
        let leaves = [&q, &k, &v, &bias].map(|h| h.tensor(device).autodiff().require_grad());
        let [tq, tk, tv, tb] = leaves.clone();
        let split = |x: Tensor<2>| {
            let tokens = x.dims()[0] / rows;
            x.reshape([rows, tokens, heads, width]).swap_dims(1, 2)
        };
        let out = attention(split(tq), split(tk), split(tv), tb.reshape(biases), factor);
        let out = out.swap_dims(1, 2).reshape([rows * length, heads * width]);
        compare(
            &format!("attention {length}x{keys}x{width}, bias {biases:?},"),
            &["dq", "dk", "dv", "dbias"],
            &[&q, &k, &v, &bias],
            &leaves,
            out,
            &weight,
            forward,
            checks,
        )
        .await?;
    }
    Ok(())
}

/// `cpu` has separate paths for few and many rows.
async fn product(device: &Device, rows: usize, checks: &mut Vec<Check>) -> Result<(), String> {
    let (inputs, outputs) = (71, 133);
    let mut stream = Stream::new("check product", rows as u64);
    let x = Host::random(rows, inputs, &mut stream);
    let w = Host::random(outputs, inputs, &mut stream);
    let b = Host::random(1, outputs, &mut stream);
    let weight = Host::random(rows, outputs, &mut stream);
    let forward = |values: &[Vec<f64>]| -> Vec<f64> {
        let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        let of_row = |x: &[f64]| -> Vec<f64> {
            let weights = values[1].chunks_exact(inputs).zip(&values[2]);
            weights.map(|(w, b)| dot(x, w) + b).collect()
        };
        values[0].chunks_exact(inputs).flat_map(of_row).collect()
    };
    let bias = |h: &Host| h.tensor(device).reshape([outputs]);
    let none = vec![0.0; outputs];
    // Without gradients, as in generation.
    let (tx, tw) = (x.tensor(device), w.tensor(device));
    let alone = linear_of(tx.clone(), tw.clone(), None);
    let expected = forward(&[x.data.clone(), w.data.clone(), none]);
    checks.push(measure(
        format!("linear {rows} rows"),
        &floats(alone).await?,
        &expected,
    ));
    let biased = linear_of(tx, tw, Some(bias(&b)));
    let expected = forward(&[x.data.clone(), w.data.clone(), b.data.clone()]);
    checks.push(measure(
        format!("linear {rows} rows, bias"),
        &floats(biased).await?,
        &expected,
    ));
    let leaf = x.tensor(device).autodiff().require_grad();
    let frozen = w.tensor(device).autodiff();
    let out = linear_of(leaf.clone(), frozen, Some(bias(&b).autodiff()));
    compare(
        &format!("linear {rows} rows, frozen,"),
        &["dx"],
        &[&x],
        &[leaf],
        out,
        &weight,
        |values| forward(&[values[0].clone(), w.data.clone(), b.data.clone()]),
        checks,
    )
    .await?;
    let leaves = [&x, &w, &b].map(|h| h.tensor(device).autodiff().require_grad());
    let [tx, tw, tb] = leaves.clone();
    let out = linear_of(tx, tw, Some(tb.reshape([outputs])));
    compare(
        &format!("linear {rows} rows, tracked,"),
        &["dx", "dw", "db"],
        &[&x, &w, &b],
        &leaves,
        out,
        &weight,
        forward,
        checks,
    )
    .await
}

fn places(rows: usize, cols: usize, share: f64, stream: &mut Stream) -> Vec<u64> {
    let size = (rows * cols) as u64;
    stream.sample(size, ((size as f64 * share) as u64).max(1))
}
