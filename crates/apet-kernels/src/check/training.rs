//! Compares the loss, its gradient and the optimizer with double precision.

use apet_record::Stream;
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};

use super::host::{Check, Host, compare, floats, measure};
use crate::{Update, adamw, cross_entropy, norm_of};

/// Compares three updates, of which the first is clipped, with AdamW in double precision.
pub(super) async fn updates(
    device: &Device,
    by_scalar: bool,
    checks: &mut Vec<Check>,
) -> Result<(), String> {
    let count = 9001;
    let mut stream = Stream::new("check updates", u64::from(by_scalar));
    let start = Host::random(1, count, &mut stream);
    let gradient = Host::random(1, count, &mut stream);
    let groups: Vec<f32> = match by_scalar {
        true => (0..2 * count).map(|i| 0.5 + (i % 3) as f32).collect(),
        false => vec![1.0, 0.25],
    };
    let group = |i: usize| match by_scalar {
        true => (f64::from(groups[i]), f64::from(groups[count + i])),
        false => (1.0, 0.25),
    };
    let flat = |h: &Host| h.tensor(device).reshape([count]);
    let mut values = flat(&start);
    let mut moments = Tensor::<1>::zeros([2 * count], device);
    let data = TensorData::new(groups.clone(), [groups.len()]);
    let on_device = Tensor::<1>::from_data(data, (device, DType::F32));
    let mut host = start.data.clone();
    let mut means = vec![[0f64; 2]; count];
    let norm = gradient.data.iter().map(|g| g * g).sum::<f64>().sqrt();
    // The second and third gradients are short enough not to be clipped.
    for (at, share) in [1.0, 0.01, 0.02].into_iter().enumerate() {
        let update = Update {
            rate: 0.1,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            clip: 3.0,
            updates: at + 1,
        };
        let scaled = flat(&gradient) * share;
        let found = norm_of(scaled.clone());
        checks.push(measure(
            format!("norm of a gradient, {at}"),
            &floats(found.clone().unsqueeze()).await?,
            &[norm * share],
        ));
        (values, moments) = adamw(values, moments, scaled, found, on_device.clone(), update);
        let factor = (3.0 / (norm * share + 1e-6)).min(1.0) * share;
        let t = (at + 1) as i32;
        for i in 0..count {
            let g = gradient.data[i] * factor;
            let [first, second] = &mut means[i];
            *first = *first * 0.9 + g * 0.1;
            *second = *second * 0.999 + g * g * 0.001;
            let (rate, decay) = group(i);
            let root = (*second / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8;
            let change = *first / (1.0 - 0.9f64.powi(t)) / root * rate * 0.1;
            host[i] -= host[i] * decay * rate * 0.1 + change;
        }
    }
    let found = floats(values.unsqueeze()).await?;
    checks.push(measure(
        format!("adamw, by scalar {by_scalar}"),
        &found,
        &host,
    ));
    let found = floats(moments.unsqueeze()).await?;
    for (half, name) in ["first", "second"].into_iter().enumerate() {
        let expected: Vec<f64> = means.iter().map(|of| of[half]).collect();
        let found = &found[half * count..][..count];
        checks.push(measure(format!("adamw {name} means"), found, &expected));
    }
    Ok(())
}

/// Compares the loss of rows and its gradient.
pub(super) async fn loss(device: &Device, checks: &mut Vec<Check>) -> Result<(), String> {
    // More classes than there are parallel sums.
    let (rows, classes) = (9, 71);
    let mut stream = Stream::new("check loss", 0);
    let x = Host::random(rows, classes, &mut stream);
    let weight = Host::random(rows, 1, &mut stream);
    let targets: Vec<i32> = (0..rows)
        .map(|_| stream.below(classes as u64) as i32)
        .collect();
    let forward = |inputs: &[Vec<f64>]| -> Vec<f64> {
        let of_row = |(row, &target): (&[f64], &i32)| {
            let sum: f64 = row.iter().map(|v| v.exp()).sum();
            sum.ln() - row[target as usize]
        };
        let logits = inputs[0].chunks_exact(classes);
        logits.zip(&targets).map(of_row).collect()
    };
    let data = TensorData::new(targets.clone(), [rows]);
    let leaves = [x.tensor(device).autodiff().require_grad()];
    let out = cross_entropy(
        leaves[0].clone(),
        Tensor::from_data(data, (device, DType::I32)),
    );
    compare(
        "cross_entropy",
        &["dx"],
        &[&x],
        &leaves,
        out.reshape([rows, 1]),
        &weight,
        forward,
        checks,
    )
    .await
}
