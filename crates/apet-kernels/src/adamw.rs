//! AdamW (Loshchilov and Hutter, 2019) with global-norm clipping, as one operation on a flat
//! vector, so that each scalar crosses memory once.

use burn::{
    Tensor,
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
};
use burn_backend::{TensorMetadata, ops::FloatTensorOps};
use burn_cubecl::{CubeBackend, kernel::into_contiguous};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::{
    cube::empty_like,
    flex::{Floats, contiguous, each_chunk, sum_rows},
    math::{dot, vectorize},
};

/// The settings of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate.
    pub rate: f64,
    /// Decay rates of the running means of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Norm to which a larger gradient is scaled down; 0 does not clip.
    pub clip: f64,
    /// Number of updates, including this one.
    pub updates: usize,
}

/// The coefficients of an update as the kernels use them.
#[derive(Clone, Copy)]
struct Coefficients {
    rate: f32,
    /// Weights of the old means and of the new values, computed in double precision: in f32, 1 - 0.999 is off by 5e-5.
    betas: [f32; 2],
    rests: [f32; 2],
    /// Bias corrections sqrt(1 - beta2^t) and 1 - beta1^t, because the means start at 0.
    root: f32,
    lead: f32,
    epsilon: f32,
    clip: f32,
}

impl From<Update> for Coefficients {
    fn from(u: Update) -> Self {
        let t = u.updates as i32;
        Self {
            rate: u.rate as f32,
            betas: u.betas.map(|beta| beta as f32),
            rests: u.betas.map(|beta| (1.0 - beta) as f32),
            root: (1.0 - u.betas[1].powi(t)).sqrt() as f32,
            lead: (1.0 - u.betas[0].powi(t)) as f32,
            epsilon: u.epsilon as f32,
            clip: u.clip as f32,
        }
    }
}

impl Coefficients {
    /// As in torch.nn.utils.clip_grad_norm_: min(1, clip / (norm + 1e-6)).
    fn factor(self, norm: f32) -> f32 {
        match self.clip {
            0.0 => 1.0,
            // Not min(), which would turn a NaN norm into a number.
            clip if norm + 1e-6 <= clip => 1.0,
            clip => clip / (norm + 1e-6),
        }
    }

    /// Updates a scalar and its two means from its gradient, with its factor on the learning rate and its decay.
    #[inline(always)]
    fn step(self, [value, first, second]: [&mut f32; 3], gradient: f32, rate: f32, decay: f32) {
        *first = *first * self.betas[0] + gradient * self.rests[0];
        *second = *second * self.betas[1] + gradient * gradient * self.rests[1];
        let rate = rate * self.rate;
        let change = *first / (second.sqrt() / self.root + self.epsilon) * (rate / self.lead);
        *value = *value - *value * decay * rate - change;
    }
}

/// A backend's operations on primitives. Use [`norm_of`] and [`adamw`].
#[backend_extension(Cube, Flex)]
pub(crate) trait Updates: Backend {
    /// The root of the sum of squares, `[1]`.
    fn whole_norm(gradient: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The values and means after an update; see [`adamw`].
    fn adamw(
        values: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        groups: FloatTensor<Self>,
        update: Update,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// The norm of a gradient, `[1]`, still on the device.
pub fn norm_of(gradient: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as Updates>::whole_norm(gradient.into_dispatch()))
}

/// One update: returns the values, and the running means of the gradient and of its square.
///
/// # Shapes
/// values and gradient `[n]`; moments `[2 n]`, the means of the gradient followed by those of its square; norm
/// `[1]`, the gradient's; groups `[2 n]`, a factor on the learning rate for each scalar followed by a decay for each, or
/// `[2]`, the same for all scalars.
pub fn adamw(
    values: Tensor<1>,
    moments: Tensor<1>,
    gradient: Tensor<1>,
    norm: Tensor<1>,
    groups: Tensor<1>,
    update: Update,
) -> (Tensor<1>, Tensor<1>) {
    let (values, moments) = <Dispatch as Updates>::adamw(
        values.into_dispatch(),
        moments.into_dispatch(),
        gradient.into_dispatch(),
        norm.into_dispatch(),
        groups.into_dispatch(),
        update,
    );
    (
        Tensor::from_dispatch(values),
        Tensor::from_dispatch(moments),
    )
}

impl Updates for Flex {
    fn whole_norm(gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        const ROW: usize = 1 << 10;
        let gradient = Floats::new(gradient);
        let gradient = gradient.get();
        // Sums of squares by rows, then their sum.
        let rows = gradient.len().div_ceil(ROW);
        let mut norm = sum_rows(
            rows,
            1,
            #[inline(always)]
            |row, sum| {
                let end = gradient.len().min((row + 1) * ROW);
                let some = &gradient[row * ROW..end];
                sum[0] += dot(some, some);
            },
        );
        let sum: &mut [f32] = norm.storage_mut();
        sum[0] = sum[0].sqrt();
        norm
    }

    fn adamw(
        values: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        groups: FloatTensor<Self>,
        update: Update,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let numbers = Coefficients::from(update);
        let [gradient, norm, groups] = [gradient, norm, groups].map(Floats::new);
        let (gradient, groups) = (gradient.get(), groups.get());
        let factor = norm.get().first().map_or(1.0, |&norm| numbers.factor(norm));
        let [mut values, mut moments] = [values, moments].map(contiguous);
        let n = gradient.len();
        let (rates, decays) = groups.split_at(groups.len() / 2);
        let (first, second) = moments.storage_mut::<f32>().split_at_mut(n);
        each_chunk([values.storage_mut(), first, second], |start, [v, m, s]| {
            let gradient = &gradient[start..start + v.len()];
            vectorize(
                #[inline(always)]
                || match (rates, decays) {
                    (&[rate], &[decay]) => {
                        for (((v, m), s), &g) in v.iter_mut().zip(m).zip(s).zip(gradient) {
                            numbers.step([v, m, s], g * factor, rate, decay);
                        }
                    }
                    _ => {
                        let groups = rates[start..].iter().zip(&decays[start..]);
                        let scalars = v.iter_mut().zip(m).zip(s).zip(gradient);
                        for ((((v, m), s), &g), (&rate, &decay)) in scalars.zip(groups) {
                            numbers.step([v, m, s], g * factor, rate, decay);
                        }
                    }
                },
            );
        });
        (values, moments)
    }
}

impl Updates for CubeBackend {
    fn whole_norm(gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let square = Self::float_mul(gradient.clone(), gradient);
        Self::float_sqrt(Self::float_sum(square))
    }

    fn adamw(
        values: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        groups: FloatTensor<Self>,
        update: Update,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let u = Coefficients::from(update);
        let inputs = [values, moments, gradient, norm, groups].map(into_contiguous);
        let (client, n) = (inputs[0].client.clone(), inputs[0].shape().num_elements());
        let by_scalar = inputs[4].shape().num_elements() > 2;
        let out = [empty_like(&inputs[0]), empty_like(&inputs[1])];
        let dim = CubeDim::new(&client, n);
        let count = calculate_cube_count_elemwise(&client, n, dim);
        let [values, moments, gradient, norm, groups] = inputs.map(|input| input.into_buffer_arg());
        let [new_values, new_moments] = out.clone().map(|out| out.into_buffer_arg());
        adamw_kernel::launch(
            &client,
            count,
            dim,
            values,
            moments,
            gradient,
            norm,
            groups,
            new_values,
            new_moments,
            n,
            u.rate,
            u.betas[0],
            u.betas[1],
            u.rests[0],
            u.rests[1],
            u.root,
            u.lead,
            u.epsilon,
            u.clip,
            by_scalar,
        );
        let [values, moments] = out;
        (values, moments)
    }
}

#[cube(launch)]
fn adamw_kernel(
    values: &[f32],
    moments: &[f32],
    gradient: &[f32],
    norm: &[f32],
    groups: &[f32],
    new_values: &mut [f32],
    new_moments: &mut [f32],
    size: usize,
    rate: f32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    root: f32,
    lead: f32,
    epsilon: f32,
    clip: f32,
    #[comptime] by_scalar: bool,
) {
    if ABSOLUTE_POS < size {
        let mut g = gradient[ABSOLUTE_POS];
        let whole = norm[0] + 1e-6f32;
        if clip > 0.0f32 && whole > clip {
            g *= clip / whole;
        }
        let first = moments[ABSOLUTE_POS] * beta1 + g * rest1;
        let second = moments[size + ABSOLUTE_POS] * beta2 + g * g * rest2;
        let mut own_rate = groups[0] * rate;
        let mut decay = groups[1];
        if comptime![by_scalar] {
            own_rate = groups[ABSOLUTE_POS] * rate;
            decay = groups[size + ABSOLUTE_POS];
        }
        let change = first / (Sqrt::sqrt(second) / root + epsilon) * (own_rate / lead);
        let value = values[ABSOLUTE_POS];
        new_values[ABSOLUTE_POS] = value - value * decay * own_rate - change;
        new_moments[ABSOLUTE_POS] = first;
        new_moments[size + ABSOLUTE_POS] = second;
    }
}
