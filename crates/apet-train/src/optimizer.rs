//! AdamW over the one flat vector of theta, on the device.

use apet_kernels::{Update, adamw, norm_of};
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
    /// A multiple of the learning rate and then a weight decay, `[2]`, or `[2 parameters]` where
    /// groups of weights have their own.
    groups: Tensor<1>,
    /// Running means of the gradient and then of its square, `[2 parameters]`.
    pub(crate) moments: Tensor<1>,
    /// Updates made.
    pub(crate) updates: usize,
}

/// What [`adamw`] takes as groups.
fn groups(settings: &Optimizer, weights: &[Weight]) -> Vec<f32> {
    if settings.groups.is_empty() {
        return vec![1.0, settings.weight_decay as f32];
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
    rates.extend(decays);
    rates
}

impl AdamW {
    /// A fresh state for the scalars of `weights`.
    pub fn new(settings: &Optimizer, weights: &[Weight], device: &Device) -> Self {
        let parameters = weights.iter().map(Weight::len).sum::<usize>();
        let groups = groups(settings, weights);
        let shape = [groups.len()];
        Self {
            settings: settings.clone(),
            groups: Tensor::from_data(TensorData::new(groups, shape), (device, DType::F32)),
            moments: Tensor::zeros([2 * parameters], device),
            updates: 0,
        }
    }

    /// One update of `values` with a gradient, which is first scaled down to the spec's norm, without
    /// reading it back. Gives the values, and the gradient's norm before, `[1]`.
    pub fn update(
        &mut self,
        values: Tensor<1>,
        gradient: Tensor<1>,
        rate: f64,
    ) -> (Tensor<1>, Tensor<1>) {
        let o = &self.settings;
        self.updates += 1;
        let update = Update {
            rate,
            betas: [o.beta1, o.beta2],
            epsilon: o.epsilon,
            clip: o.clip_norm,
            updates: self.updates,
        };
        let norm = norm_of(gradient.clone());
        // Taken out, so that it is changed where it lies.
        let none = Tensor::empty([0], &values.device());
        let moments = std::mem::replace(&mut self.moments, none);
        let groups = self.groups.clone();
        let (values, moments) = adamw(values, moments, gradient, norm.clone(), groups, update);
        self.moments = moments;
        (values, norm)
    }
}
