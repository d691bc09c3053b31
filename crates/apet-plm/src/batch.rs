//! A batch of token sequences on a device, padded to its longest.

use apet_checkpoint::Encoded;
use burn::{
    Tensor,
    tensor::{DType, Device, Int, TensorData},
};

use crate::hooks::{INPUT, LayerHooks};

/// Added to the attention scores of masked keys; its exponential is 0 in f32.
pub(crate) const MASKED: f32 = -1e9;

/// On which side the shorter sequences are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// After the tokens: encoders.
    Right,
    /// Before the tokens: decoders, whose last token must be the last of the row.
    Left,
}

/// Token sequences, padded to the length of the longest; in generation, the next token of
/// each after `past` earlier ones.
#[derive(Clone, Debug)]
pub struct Batch {
    device: Device,
    rows: usize,
    /// Tokens of a row, including virtual ones.
    length: usize,
    /// Virtual tokens at the start of each row.
    ahead: usize,
    past: usize,
    /// Whether an encoder's tokens attend only to earlier ones.
    causal: bool,
    /// Whether each key is a token rather than padding, `[rows, past + length]`.
    real: Vec<bool>,
    ids: Vec<u32>,
    types: Vec<u32>,
}

impl Batch {
    /// Pads `sequences` with `pad`. Tensors on `device` are made on demand.
    pub fn new(sequences: &[&Encoded], pad: u32, padding: Padding, device: &Device) -> Self {
        let rows = sequences.len();
        let length = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let size = rows * length;
        let mut batch = Self {
            device: device.clone(),
            rows,
            length,
            ahead: 0,
            past: 0,
            causal: false,
            real: vec![false; size],
            ids: vec![pad; size],
            types: vec![0; size],
        };
        for (row, sequence) in sequences.iter().enumerate() {
            let count = sequence.ids.len();
            let first = match padding {
                Padding::Right => 0,
                Padding::Left => length - count,
            };
            let at = row * length + first;
            batch.ids[at..at + count].copy_from_slice(&sequence.ids);
            batch.types[at..at + count].copy_from_slice(&sequence.types);
            batch.real[at..at + count].fill(true);
        }
        batch
    }

    /// The same with `count` virtual tokens at the start of every row, before any padding.
    pub(crate) fn with_virtual_tokens(&self, count: usize) -> Self {
        if count == 0 {
            return self.clone();
        }
        let length = count + self.length;
        let mut real = Vec::with_capacity(self.rows * length);
        let mut types = Vec::with_capacity(self.rows * length);
        for row in 0..self.rows {
            let own = row * self.length..(row + 1) * self.length;
            real.extend(std::iter::repeat_n(true, count));
            real.extend_from_slice(&self.real[own.clone()]);
            types.extend(std::iter::repeat_n(0, count));
            types.extend_from_slice(&self.types[own]);
        }
        Self {
            length,
            ahead: count + self.ahead,
            real,
            types,
            ..self.clone()
        }
    }

    /// The embedded input x `[rows * own tokens, width]` after this batch's virtual tokens.
    pub(crate) fn concat(&self, x: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        if self.ahead == 0 {
            return x;
        }
        let [_, width] = x.dims();
        let own = x.reshape([self.rows, self.length - self.ahead, width]);
        hooks
            .concat(INPUT, own)
            .reshape([self.rows * self.length, width])
    }

    /// The next token of every sequence, after all earlier ones.
    pub(crate) fn next(&self, ids: &[u32]) -> Self {
        let before = self.past + self.length;
        let mut real = Vec::with_capacity(self.rows * (before + 1));
        for row in self.real.chunks_exact(before) {
            real.extend_from_slice(row);
            real.push(true);
        }
        Self {
            device: self.device.clone(),
            rows: self.rows,
            length: 1,
            ahead: 0,
            past: before,
            causal: self.causal,
            real,
            ids: ids.to_vec(),
            types: vec![0; self.rows],
        }
    }

    /// Sequences.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens of the longest sequence, including virtual ones; 1 in generation.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens before these, in generation.
    pub fn past(&self) -> usize {
        self.past
    }

    /// The device of its tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The number of tokens, including virtual ones, without padding.
    pub fn tokens(&self) -> u64 {
        self.real.iter().filter(|&&real| real).count() as u64
    }

    /// Token ids without virtual tokens, `[rows * own tokens]`.
    pub fn ids(&self) -> Tensor<1, Int> {
        self.ints(self.ids.iter().map(|&id| id as i32).collect())
    }

    /// Token types, `[rows * length]`.
    pub fn types(&self) -> Tensor<1, Int> {
        self.ints(self.types.iter().map(|&kind| kind as i32).collect())
    }

    /// Position of each token among the tokens of its sequence, plus `first`;
    /// 0 on padding. `[rows * length]`.
    pub fn positions(&self, first: usize) -> Tensor<1, Int> {
        let keys = self.key_positions();
        let position = |p: &Option<usize>| p.map_or(0, |p| (p + first) as i32);
        self.ints(self.own(&keys).map(position).collect())
    }

    /// The same on the host, from 0.
    pub(crate) fn own_positions(&self) -> Vec<usize> {
        let keys = self.key_positions();
        self.own(&keys).map(|p| p.unwrap_or(0)).collect()
    }

    /// The values of this batch's tokens, out of those of all keys.
    fn own<'a, T>(&self, of_keys: &'a [T]) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let past = self.past;
        of_keys
            .chunks_exact(self.keys().max(1))
            .flat_map(move |row| &row[past..])
    }

    /// Position of each key among the tokens of its sequence, 0 on padding,
    /// `[rows, 1, 1, keys]`.
    pub(crate) fn key_positions_as_floats(&self) -> Tensor<4> {
        let keys = self.key_positions();
        let floats = keys.iter().map(|p| p.unwrap_or(0) as f32).collect();
        self.floats(floats).reshape([self.rows, 1, 1, self.keys()])
    }

    fn key_positions(&self) -> Vec<Option<usize>> {
        let mut positions = Vec::with_capacity(self.real.len());
        for row in self.real.chunks_exact(self.keys().max(1)) {
            let mut seen = 0..;
            positions.extend(row.iter().map(|&real| real.then(|| seen.next()).flatten()));
        }
        positions
    }

    /// The number of keys: earlier tokens and these.
    pub(crate) fn keys(&self) -> usize {
        self.past + self.length
    }

    /// The same sequences with causal attention in an encoder: no token attends to a later one.
    pub fn causal(self) -> Self {
        Self {
            causal: true,
            ..self
        }
    }

    /// The bias of attention scores, `[rows, 1, 1, keys]`: 0 on tokens, very negative on padding.
    /// For a [`Batch::causal`] batch, `[rows, 1, length, keys]`.
    pub fn attention_bias(&self) -> Tensor<4> {
        if self.causal && self.length > 1 {
            return self.causal_bias();
        }
        let bias = |&real: &bool| if real { 0.0 } else { MASKED };
        self.floats(self.real.iter().map(bias).collect())
            .reshape([self.rows, 1, 1, self.keys()])
    }

    /// The same with later tokens masked, `[rows, 1, length or 1, keys]`.
    pub(crate) fn causal_bias(&self) -> Tensor<4> {
        if self.length == 1 {
            return self.attention_bias();
        }
        let (length, keys) = (self.length, self.keys());
        let mut bias = vec![MASKED; self.rows * length * keys];
        for (row, real) in self.real.chunks_exact(keys).enumerate() {
            for query in 0..length {
                let at = (row * length + query) * keys;
                let seen = &real[..=self.past + query];
                for (bias, _) in bias[at..].iter_mut().zip(seen).filter(|(_, real)| **real) {
                    *bias = 0.0;
                }
            }
        }
        self.floats(bias).reshape([self.rows, 1, length, keys])
    }

    /// 1 / (tokens of the sequence) on its tokens, 0 on padding, `[rows, length]`.
    pub fn mean_weights(&self) -> Tensor<2> {
        let mut weights = Vec::with_capacity(self.real.len());
        for row in self.real.chunks_exact(self.length.max(1)) {
            let tokens = row.iter().filter(|&&real| real).count();
            let share = 1.0 / tokens.max(1) as f32;
            weights.extend(row.iter().map(|&real| if real { share } else { 0.0 }));
        }
        self.floats(weights).reshape([self.rows, self.length])
    }

    fn ints(&self, values: Vec<i32>) -> Tensor<1, Int> {
        let size = values.len();
        Tensor::from_data(TensorData::new(values, [size]), (&self.device, DType::I32))
    }

    fn floats(&self, values: Vec<f32>) -> Tensor<1> {
        let size = values.len();
        Tensor::from_data(TensorData::new(values, [size]), (&self.device, DType::F32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    fn batch(padding: Padding) -> Batch {
        let sequence = |ids: &[u32]| Encoded {
            ids: ids.to_vec(),
            types: vec![0; ids.len()],
        };
        let (a, b) = (sequence(&[5, 6, 7]), sequence(&[8]));
        Batch::new(&[&a, &b], 0, padding, &Device::flex())
    }

    fn ints(tensor: Tensor<1, Int>) -> Vec<i32> {
        let data = block_on(tensor.into_data_async()).unwrap();
        data.try_to_vec().unwrap()
    }

    fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        let data = block_on(tensor.into_data_async()).unwrap();
        data.try_to_vec().unwrap()
    }

    #[test]
    fn padding_stands_on_its_side() {
        assert_eq!(ints(batch(Padding::Right).ids()), [5, 6, 7, 8, 0, 0]);
        let left = batch(Padding::Left);
        assert_eq!(ints(left.ids()), [5, 6, 7, 0, 0, 8]);
        assert_eq!(ints(left.positions(2)), [2, 3, 4, 0, 0, 2]);
        assert_eq!(left.tokens(), 4);
        let weights = floats(left.mean_weights());
        assert_eq!(weights[3..], [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_token_sees_itself_and_what_is_before() {
        let bias = floats(batch(Padding::Left).causal_bias());
        let seen: Vec<bool> = bias.iter().map(|&b| b == 0.0).collect();
        let (y, n) = (true, false);
        assert_eq!(seen[..9], [y, n, n, y, y, n, y, y, y]);
        assert_eq!(seen[9..], [n, n, n, n, n, n, n, n, y]);
    }

    #[test]
    fn a_next_token_follows_all_others() {
        let next = batch(Padding::Left).next(&[9, 9]);
        assert_eq!((next.length(), next.past(), next.keys()), (1, 3, 4));
        assert_eq!(ints(next.positions(0)), [3, 1]);
        let bias = floats(next.causal_bias());
        let seen: Vec<bool> = bias.iter().map(|&b| b == 0.0).collect();
        assert_eq!(seen, [true, true, true, true, false, false, true, true]);
    }
}
