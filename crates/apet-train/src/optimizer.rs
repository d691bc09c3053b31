//! AdamW and global-norm clipping over the one flat vector of theta, on the device.

use apet_record::Optimizer;
use apet_theta::Weight;
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};

/// State of AdamW (Loshchilov and Hutter, 2019), as in PyTorch.
#[derive(Clone, Debug)]
pub struct AdamW {
    settings: Optimizer,
    /// What groups of weights have of their own, `[parameters]` each.
    groups: Option<Groups>,
    /// Running mean of the gradient, `[parameters]`.
    pub(crate) first: Tensor<1>,
    /// Running mean of its square, `[parameters]`.
    pub(crate) second: Tensor<1>,
    /// Updates made.
    pub(crate) updates: usize,
}

/// Settings that differ between weights, a number for each scalar.
#[derive(Clone, Debug)]
struct Groups {
    /// Multiples of the learning rate.
    rates: Tensor<1>,
    /// Weight decay.
    decays: Tensor<1>,
}

impl Groups {
    /// None where the settings have no groups.
    fn new(settings: &Optimizer, weights: &[Weight], device: &Device) -> Option<Self> {
        if settings.groups.is_empty() {
            return None;
        }
        let patterns: Vec<_> = settings.groups.iter().map(|g| g.pattern()).collect();
        let (mut rates, mut decays) = (Vec::new(), Vec::new());
        for weight in weights {
            let matches = |pattern: &Result<regex_lite::Regex, String>| {
                pattern.as_ref().is_ok_and(|p| p.is_match(&weight.name))
            };
            let group = patterns.iter().position(matches);
            let group = group.map(|at| &settings.groups[at]);
            let rate = group.and_then(|g| g.learning_rate);
            let rate = rate.map_or(1.0, |rate| rate / settings.learning_rate);
            let decay = group.and_then(|g| g.weight_decay);
            rates.extend(std::iter::repeat_n(rate as f32, weight.len()));
            let decay = decay.unwrap_or(settings.weight_decay) as f32;
            decays.extend(std::iter::repeat_n(decay, weight.len()));
        }
        let tensor = |values: Vec<f32>| {
            let len = values.len();
            Tensor::from_data(TensorData::new(values, [len]), (device, DType::F32))
        };
        Some(Self {
            rates: tensor(rates),
            decays: tensor(decays),
        })
    }
}

impl AdamW {
    /// A fresh state for the scalars of `weights`.
    pub fn new(settings: &Optimizer, weights: &[Weight], device: &Device) -> Self {
        let parameters = weights.iter().map(Weight::len).sum::<usize>();
        Self {
            settings: settings.clone(),
            groups: Groups::new(settings, weights, device),
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
        let mut change = self.first.clone() / root * (rate / (1.0 - o.beta1.powi(t)));
        let kept = match (&self.groups, o.weight_decay) {
            (Some(Groups { rates, decays }), _) => {
                change = change * rates.clone();
                let decay = rates.clone() * decays.clone() * rate;
                values.clone() - values * decay
            }
            (None, 0.0) => values,
            (None, decay) => values * (1.0 - rate * decay),
        };
        kept - change
    }
}
