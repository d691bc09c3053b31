//! Attention, as the families share it: heads, the key-value cache of generation, relative
//! positions.

use apet_kernels::attention;
use burn::{Tensor, tensor::Device};

use crate::{
    batch::Batch,
    hooks::{LayerHooks, Table},
};

/// Splits `[rows * length, heads * width]` into `[rows, heads, length, width]`.
pub(crate) fn split(x: Tensor<2>, rows: usize, heads: usize) -> Tensor<4> {
    let [tokens, size] = x.dims();
    x.reshape([rows, tokens / rows, heads, size / heads])
        .swap_dims(1, 2)
}

/// softmax(scale q kᵀ + bias) v, with heads of keys repeated where queries have more:
/// query `[rows, heads, length, width]`, key and value `[rows, key heads, keys, width]`,
/// bias broadcast to `[rows, heads, length, keys]`; result `[rows * length, heads * width]`.
pub(crate) fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Tensor<4>,
    scale: f64,
) -> Tensor<2> {
    let [rows, heads, length, width] = query.dims();
    let (key, value) = (repeat(key, heads), repeat(value, heads));
    attention(query, key, value, bias, scale)
        .swap_dims(1, 2)
        .reshape([rows * length, heads * width])
}

/// Grouped-query attention: every head of keys serves several heads of queries.
fn repeat(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [rows, own, keys, width] = x.dims();
    if own == heads {
        return x;
    }
    x.reshape([rows, own, 1, keys, width])
        .expand([rows, own, heads / own, keys, width])
        .reshape([rows, heads, keys, width])
}

/// The keys and values of earlier tokens in every block, for generation.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    blocks: Vec<(Tensor<4>, Tensor<4>)>,
    /// Those of an encoder's output.
    cross: Vec<(Tensor<4>, Tensor<4>)>,
}

impl Cache {
    /// Appends the keys and values of the new tokens in block `block`, and returns all of them.
    pub(crate) fn extend(
        &mut self,
        block: usize,
        key: Tensor<4>,
        value: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let all = match self.blocks.get(block) {
            None => (key, value),
            Some((k, v)) => (
                Tensor::cat(vec![k.clone(), key], 2),
                Tensor::cat(vec![v.clone(), value], 2),
            ),
        };
        match self.blocks.get_mut(block) {
            None => self.blocks.push(all.clone()),
            Some(place) => *place = all.clone(),
        }
        all
    }

    /// A block's keys and values of an encoder's output, which `make` computes the first time.
    pub(crate) fn once(
        &mut self,
        block: usize,
        make: impl FnOnce() -> (Tensor<4>, Tensor<4>),
    ) -> (Tensor<4>, Tensor<4>) {
        if let Some(kept) = self.cross.get(block) {
            return kept.clone();
        }
        let made = make();
        self.cross.push(made.clone());
        made
    }
}

/// Buckets of relative positions (Raffel et al., 2020), as in T5 and MPNet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    pub(crate) count: usize,
    pub(crate) farthest: usize,
    /// Whether later keys have separate buckets (encoders).
    pub(crate) both_ways: bool,
}

impl Buckets {
    /// The bucket of a key `offset` positions after (positive) or before the query.
    fn bucket(self, offset: i64) -> usize {
        let mut count = self.count;
        let mut first = 0;
        let distance = if self.both_ways {
            count /= 2;
            first = if offset > 0 { count } else { 0 };
            offset.unsigned_abs() as usize
        } else {
            (-offset).max(0) as usize
        };
        let exact = count / 2;
        if distance < exact {
            return first + distance;
        }
        // In f32, as in the reference: rounding decides at a border. libm's logarithm is the same
        // on every platform.
        let share = libm::logf(distance as f32 / exact as f32)
            / (libm::log(self.farthest as f64 / exact as f64) as f32);
        let far = exact + (share * (count - exact) as f32) as usize;
        first + far.min(count - 1)
    }

    /// The bias of every pair of a query and a key, from a table `[buckets, heads]`:
    /// `[1, heads, length, keys]`, or `[rows, heads, length, keys]` if rows differ.
    pub(crate) fn bias(self, table: &Table, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<4> {
        let (length, keys) = (batch.length(), batch.keys());
        let pair = |at: usize| {
            let query = batch.past() + at / keys;
            self.bucket((at % keys) as i64 - query as i64) as i32
        };
        let buckets: Vec<i32> = (0..length * keys).map(pair).collect();
        let heads = table.rows.value.dims()[1];
        let shared = hooks.embed_shared(table, ints(buckets, batch.device()));
        let parts = shared.dims()[0];
        let bias = shared
            .reshape([parts, length, keys, heads])
            .swap_dims(2, 3)
            .swap_dims(1, 2);
        if parts == 1 {
            return bias;
        }
        let each = batch.rows() / parts;
        bias.reshape([parts, 1, heads, length, keys])
            .expand([parts, each, heads, length, keys])
            .reshape([parts * each, heads, length, keys])
    }
}

fn ints(values: Vec<i32>, device: &Device) -> Tensor<1, burn::tensor::Int> {
    let size = values.len();
    let data = burn::tensor::TensorData::new(values, [size]);
    Tensor::from_data(data, (device, burn::tensor::DType::I32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of transformers' T5Attention._relative_position_bucket.
    #[test]
    fn buckets_are_those_of_the_reference() {
        let encoder = Buckets {
            count: 32,
            farthest: 128,
            both_ways: true,
        };
        let decoder = Buckets {
            both_ways: false,
            ..encoder
        };
        let offsets = [
            -200, -128, -64, -20, -9, -8, -7, -1, 0, 1, 7, 8, 12, 31, 127, 300,
        ];
        let encoded = [15, 15, 14, 10, 8, 8, 7, 1, 0, 17, 23, 24, 25, 27, 31, 31];
        let decoded = [31, 31, 26, 17, 9, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(offsets.map(|o| encoder.bucket(o)), encoded);
        assert_eq!(offsets.map(|o| decoder.bucket(o)), decoded);
        // Every distance at which another bucket begins.
        let borders = |buckets: Buckets| -> Vec<i64> {
            let other = |&d: &i64| buckets.bucket(-d) != buckets.bucket(1 - d);
            (1..20_000).filter(other).collect()
        };
        let far = [12, 16, 23, 32, 46, 64, 91];
        assert_eq!(
            borders(encoder),
            [&[1, 2, 3, 4, 5, 6, 7, 8], &far[..]].concat()
        );
        let near: Vec<i64> = (1..=16).collect();
        let far = [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113];
        assert_eq!(borders(decoder), [&near[..], &far[..]].concat());
    }
}
