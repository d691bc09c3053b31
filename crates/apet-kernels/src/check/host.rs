//! Compares an operation's output and gradients with double precision on the host.

use apet_record::Stream;
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The compared quantity: `sparse_linear dx`.
    pub name: String,
    /// Largest difference, divided by the largest expected magnitude.
    pub error: f64,
    /// The tolerance for `error`.
    pub tolerance: f64,
}

impl Check {
    /// Whether the comparison passes. A NaN error does not.
    pub fn passes(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// The tolerance for single precision over sums of a few hundred products.
const TOLERANCE: f64 = 2e-5;
/// Step of the central differences in double precision.
const STEP: f64 = 1e-5;

/// A matrix of numbers on the host.
pub(super) struct Host {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) data: Vec<f64>,
}

impl Host {
    pub(super) fn random(rows: usize, cols: usize, stream: &mut Stream) -> Self {
        // Rounded to f32, so that device and host start from equal numbers.
        let draw = || f64::from(stream.normal() as f32);
        let data = std::iter::repeat_with(draw).take(rows * cols).collect();
        Self { rows, cols, data }
    }

    pub(super) fn tensor(&self, device: &Device) -> Tensor<2> {
        let data: Vec<f32> = self.data.iter().map(|&v| v as f32).collect();
        Tensor::from_data(
            TensorData::new(data, [self.rows, self.cols]),
            (device, DType::F32),
        )
    }
}

/// Compares an operation's output and the gradients of Σ weight · output with the host's.
#[expect(
    clippy::too_many_arguments,
    reason = "one call compares one operation whole"
)]
pub(super) async fn compare(
    what: &str,
    names: &[&str],
    inputs: &[&Host],
    leaves: &[Tensor<2>],
    out: Tensor<2>,
    weight: &Host,
    forward: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    checks: &mut Vec<Check>,
) -> Result<(), String> {
    let device = out.device();
    let mut values: Vec<Vec<f64>> = inputs.iter().map(|h| h.data.clone()).collect();
    let found = floats(out.clone().inner()).await?;
    checks.push(measure(
        format!("{what} forward"),
        &found,
        &forward(&values),
    ));

    let loss = (out * weight.tensor(&device)).sum();
    let mut gradients = loss.backward();
    let host_loss = |values: &[Vec<f64>]| -> f64 {
        forward(values)
            .iter()
            .zip(&weight.data)
            .map(|(o, w)| o * w)
            .sum()
    };
    for (input, name) in names.iter().enumerate() {
        let gradient = leaves[input].grad_remove(&mut gradients);
        let gradient = gradient.ok_or_else(|| format!("{what} {name}: no gradient"))?;
        let found = floats(gradient).await?;
        // Up to 64 evenly spaced elements, because each costs two passes on the host.
        let stride = found.len().div_ceil(64);
        let mut some = Vec::new();
        let mut expected = Vec::new();
        for i in (0..found.len()).step_by(stride) {
            let before = values[input][i];
            values[input][i] = before + STEP;
            let above = host_loss(&values);
            values[input][i] = before - STEP;
            let below = host_loss(&values);
            values[input][i] = before;
            some.push(found[i]);
            expected.push((above - below) / (2.0 * STEP));
        }
        checks.push(measure(format!("{what} {name}"), &some, &expected));
    }
    Ok(())
}

pub(super) async fn floats(tensor: Tensor<2>) -> Result<Vec<f32>, String> {
    let data = tensor.into_data_async().await.map_err(|e| e.to_string())?;
    data.try_to_vec::<f32>().map_err(|e| format!("{e:?}"))
}

pub(super) fn measure(name: String, found: &[f32], expected: &[f64]) -> Check {
    let scale = expected.iter().fold(1e-30, |m: f64, v| m.max(v.abs()));
    let mut error = 0.0;
    for (&f, &e) in found.iter().zip(expected) {
        let difference = (f64::from(f) - e).abs() / scale;
        // Not max(), which would drop a NaN difference.
        if difference.is_nan() || difference > error {
            error = difference;
        }
    }
    if found.len() != expected.len() {
        error = f64::INFINITY;
    }
    Check {
        name,
        error,
        tolerance: TOLERANCE,
    }
}
