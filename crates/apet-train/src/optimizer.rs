//! AdamW and global-norm clipping over the one flat vector of theta, on the device.

use apet_record::Optimizer;
use burn::{Tensor, tensor::Device};

/// State of AdamW (Loshchilov and Hutter, 2019), as in PyTorch.
#[derive(Clone, Debug)]
pub struct AdamW {
    settings: Optimizer,
    /// Running mean of the gradient, `[parameters]`.
    pub(crate) first: Tensor<1>,
    /// Running mean of its square, `[parameters]`.
    pub(crate) second: Tensor<1>,
    /// Updates made.
    pub(crate) updates: usize,
}

impl AdamW {
    /// A fresh state for `parameters` scalars.
    pub fn new(settings: &Optimizer, parameters: usize, device: &Device) -> Self {
        Self {
            settings: settings.clone(),
            first: Tensor::zeros([parameters], device),
            second: Tensor::zeros([parameters], device),
            updates: 0,
        }
    }

    /// Scales a gradient down to the spec's norm, without reading it back.
    /// Returns it with its norm before, `[1]`.
    pub fn clip(&self, gradient: Tensor<1>) -> (Tensor<1>, Tensor<1>) {
        let norm = (gradient.clone() * gradient.clone()).sum().sqrt();
        if self.settings.clip_norm == 0.0 {
            return (gradient, norm);
        }
        // As torch.nn.utils.clip_grad_norm_: min(1, c / (norm + 1e-6)).
        let factor = (norm.clone() + 1e-6).recip() * self.settings.clip_norm;
        (gradient * factor.clamp_max(1.0), norm)
    }

    /// One update of `values` with a gradient.
    pub fn update(&mut self, values: Tensor<1>, gradient: Tensor<1>, rate: f64) -> Tensor<1> {
        let o = &self.settings;
        self.updates += 1;
        let t = self.updates as i32;
        let square = gradient.clone() * gradient.clone();
        self.first = self.first.clone() * o.beta1 + gradient * (1.0 - o.beta1);
        self.second = self.second.clone() * o.beta2 + square * (1.0 - o.beta2);
        let root = self.second.clone().sqrt() / (1.0 - o.beta2.powi(t)).sqrt() + o.epsilon;
        let change = self.first.clone() / root * (rate / (1.0 - o.beta1.powi(t)));
        let kept = match o.weight_decay {
            0.0 => values,
            decay => values * (1.0 - rate * decay),
        };
        kept - change
    }
}
