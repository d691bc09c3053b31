//! A batch of token sequences on a device, padded on the right to its longest.

use burn::{
    Tensor,
    tensor::{DType, Device, Int, TensorData},
};

use crate::Encoded;

/// What attention scores of padding are lowered by; exp of it is 0 in f32.
const MASKED: f32 = -1e9;

/// Token sequences, padded to the longest of them.
#[derive(Clone, Debug)]
pub struct Batch {
    rows: usize,
    length: usize,
    tokens: u64,
    ids: Tensor<1, Int>,
    types: Tensor<1, Int>,
    positions: Tensor<1, Int>,
    attention_bias: Tensor<4>,
    mean_weights: Tensor<2>,
}

impl Batch {
    /// Pads `sequences` with `pad` and puts them on a device.
    pub fn new(sequences: &[&Encoded], pad: u32, device: &Device) -> Self {
        let rows = sequences.len();
        let length = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let size = rows * length;
        let mut ids = vec![pad as i32; size];
        let mut types = vec![0i32; size];
        let mut bias = vec![MASKED; size];
        let mut weights = vec![0f32; size];
        for (row, sequence) in sequences.iter().enumerate() {
            let share = 1.0 / sequence.ids.len().max(1) as f32;
            for (i, (&id, &kind)) in sequence.ids.iter().zip(&sequence.types).enumerate() {
                let at = row * length + i;
                ids[at] = id as i32;
                types[at] = kind as i32;
                bias[at] = 0.0;
                weights[at] = share;
            }
        }
        let positions: Vec<i32> = (0..size).map(|at| (at % length.max(1)) as i32).collect();
        let ints =
            |v: Vec<i32>| Tensor::from_data(TensorData::new(v, [size]), (device, DType::I32));
        let floats = |v: Vec<f32>| TensorData::new(v, [rows, length]);
        Self {
            rows,
            length,
            tokens: sequences.iter().map(|s| s.ids.len() as u64).sum(),
            ids: ints(ids),
            types: ints(types),
            positions: ints(positions),
            attention_bias: Tensor::<2>::from_data(floats(bias), (device, DType::F32))
                .reshape([rows, 1, 1, length]),
            mean_weights: Tensor::from_data(floats(weights), (device, DType::F32)),
        }
    }

    /// Sequences.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens of the longest sequence.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens in all, padding not counted.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Token ids, `[rows * length]`.
    pub fn ids(&self) -> Tensor<1, Int> {
        self.ids.clone()
    }

    /// Token types, `[rows * length]`.
    pub fn types(&self) -> Tensor<1, Int> {
        self.types.clone()
    }

    /// Positions in the sequence, `[rows * length]`.
    pub fn positions(&self) -> Tensor<1, Int> {
        self.positions.clone()
    }

    /// Added to attention scores, `[rows, 1, 1, length]`: 0, or far below it on padding.
    pub fn attention_bias(&self) -> Tensor<4> {
        self.attention_bias.clone()
    }

    /// 1 / (tokens of the sequence) on its tokens, 0 on padding, `[rows, length]`.
    pub fn mean_weights(&self) -> Tensor<2> {
        self.mean_weights.clone()
    }
}
