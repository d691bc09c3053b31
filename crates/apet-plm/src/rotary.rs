//! Rotary positions (Su et al., 2021), in Hugging Face's layout: a number of the first half of a
//! head is rotated with its partner in the second half.

use burn::{
    Tensor,
    tensor::{DType, TensorData},
};

use crate::batch::Batch;

/// Cosine and sine of every token's angles, `[rows, 1, length, pairs]`.
pub(crate) struct Angles {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Angles {
    /// The angles of a batch's tokens; `step` holds each pair's angle from one token to the next.
    pub(crate) fn new(step: &[f32], batch: &Batch) -> Self {
        let positions = batch.own_positions();
        let shape = [batch.rows(), 1, batch.length(), step.len()];
        let tensor = |of: fn(f32) -> f32| {
            let of_token =
                |&position: &usize| step.iter().map(move |angle| of(position as f32 * angle));
            let values: Vec<f32> = positions.iter().flat_map(of_token).collect();
            Tensor::from_data(TensorData::new(values, shape), (batch.device(), DType::F32))
        };
        Self {
            cos: tensor(libm::cosf),
            sin: tensor(libm::sinf),
        }
    }

    /// Rotates the pairs of each head, its first `2 * pairs` numbers; the rest stays:
    /// x `[rows, heads, length, width]`, shape kept.
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let (width, half) = (x.dims()[3], self.cos.dims()[3]);
        let a = x.clone().narrow(3, 0, half);
        let b = x.clone().narrow(3, half, half);
        let (cos, sin) = (&self.cos, &self.sin);
        let first = a.clone() * cos.clone() - b.clone() * sin.clone();
        let second = b * cos.clone() + a * sin.clone();
        let mut parts = vec![first, second];
        if width > 2 * half {
            parts.push(x.narrow(3, 2 * half, width - 2 * half));
        }
        Tensor::cat(parts, 3)
    }
}
