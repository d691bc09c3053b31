//! Scalars inside the factors of a low-rank delta (Donoway et al., 2025), which APET's selector draws.

use std::sync::Arc;

use apet_kernels::{SparseIndex, linear, sparse_linear};
use burn::tensor::Device;

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    deltas::lora::{LORA, add_product},
    hooks::PointHooks,
    peft::{format::PeftFormat, piece::Piece},
    weight::{Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[];

static KIND: DeltaKind = DeltaKind {
    name: "low_rank_scalars",
    operation: Some(Operation::Add),
    exclusive: false,
    merge: Merge::Add,
    read: |entry, target, positions| {
        let [outputs, inputs] = target.matrix();
        let fits = entry.in_a <= entry.size && entry.rank <= outputs.max(inputs);
        if target.linear().is_none() || !fits {
            return Ok(None);
        }
        let a = positions.take(entry.in_a, entry.rank * inputs)?;
        let b = positions.take(entry.size - entry.in_a, entry.rank * outputs)?;
        let factors = (entry.rank, entry.scale.unwrap_or(1.0));
        let delta = LowRankScalars::new(factors, (a, b), target, positions.device);
        Ok(Some(Arc::new(delta)))
    },
};

/// Scalars inside the factors of a low-rank delta, as changes of their initial values: A is drawn
/// and kept, B is 0. The values of A come first.
#[derive(Clone, Debug)]
pub(crate) struct LowRankScalars {
    rank: usize,
    /// alpha / rank.
    scale: f64,
    /// Positions in A, `[rank, in]`.
    a: Vec<u64>,
    /// Positions in B, `[out, rank]`.
    b: Vec<u64>,
    /// The same on the device.
    index: Box<[SparseIndex; 2]>,
}

impl LowRankScalars {
    pub(crate) fn new(
        (rank, scale): (usize, f64),
        (a, b): (Vec<u64>, Vec<u64>),
        target: Target<'_>,
        device: &Device,
    ) -> Self {
        let [outputs, inputs] = target.matrix();
        let index = Box::new([
            SparseIndex::new(rank, inputs, &a, device),
            SparseIndex::new(outputs, rank, &b, device),
        ]);
        Self {
            rank,
            scale,
            a,
            b,
            index,
        }
    }

    /// A and B in full, row-major.
    fn factors(&self, values: &DeltaValues<'_>) -> (Vec<f32>, Vec<f32>) {
        let (of_a, of_b) = values.of(0).split_at(self.a.len());
        let mut whole_a = values.constants[0].host.clone();
        for (&at, value) in self.a.iter().zip(of_a) {
            whole_a[at as usize] += value;
        }
        let dims = self.index[1].dims();
        let mut whole_b = vec![0.0; dims.rows * dims.cols];
        for (&at, value) in self.b.iter().zip(of_b) {
            whole_b[at as usize] = *value;
        }
        (whole_a, whole_b)
    }
}

impl Delta for LowRankScalars {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: format!("{}.lora_scalars", target.name()),
            part: "low_rank_scalars",
            shape: vec![self.a.len() + self.b.len()],
            initial: Initial::Zero,
        }]
    }

    fn count(&self, _target: Target<'_>) -> u64 {
        (self.a.len() + self.b.len()) as u64
    }

    fn positions(&self) -> [&[u64]; 2] {
        [&self.a, &self.b]
    }

    /// A, drawn as LoRA's.
    fn constants(&self, target: Target<'_>, source: &mut ConstantSource<'_>) -> Vec<DeltaConstant> {
        let [_, inputs] = target.matrix();
        let bound = (inputs as f64).powf(-0.5);
        let draw = |_| ((2.0 * source.stream.uniform() - 1.0) * bound) as f32;
        let values: Vec<f32> = (0..self.rank * inputs).map(draw).collect();
        vec![DeltaConstant::new(
            values,
            [self.rank, inputs],
            source.device,
        )]
    }

    fn hook<'a>(&'a self, tensors: &DeltaTensors<'a>, hooks: &mut PointHooks<'a>) {
        let (leaf, in_a) = (&tensors.leaves[0], self.a.len());
        let part = |from: usize, to: usize| (from < to).then(|| leaf.clone().slice(from..to));
        let (of_a, of_b) = (part(0, in_a), part(in_a, in_a + self.b.len()));
        // B is 0 except at its trained scalars: without any, nothing is added.
        let Some(of_b) = of_b else { return };
        let (a, scale, index) = (&tensors.constants[0].tensor, self.scale, &self.index);
        hooks.additions.push(Box::new(move |x, y| {
            let mut narrow = linear(x.clone(), a.clone(), None);
            if let Some(of_a) = &of_a {
                narrow = sparse_linear(narrow, x.clone(), of_a.clone(), &index[0]);
            }
            sparse_linear(y, narrow * scale, of_b.clone(), &index[1])
        }));
    }

    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], width: usize) {
        let (a, b) = self.factors(values);
        add_product(tensor, (&a, &b), (self.rank, width), self.scale);
    }

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry {
            size: self.a.len() + self.b.len(),
            in_a: self.a.len(),
            rank: self.rank,
            scale: Some(self.scale),
        }
    }

    fn to_peft(&self, target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        let [outputs, inputs] = target.matrix();
        let (a, b) = self.factors(values);
        Ok(Piece {
            format: LORA,
            part: "",
            tensors: vec![(vec![self.rank, inputs], a), (vec![outputs, self.rank], b)],
            positions: Vec::new(),
            scale: self.scale,
        })
    }

    fn activations(&self, _target: Target<'_>) -> usize {
        self.rank
    }

    fn needs_input(&self) -> bool {
        true
    }

    /// The factor A that is kept, and both indices.
    fn index_bytes(&self, _target: Target<'_>) -> u64 {
        let dims = self.index[0].dims();
        let a = 4 * (dims.rows * dims.cols) as u64;
        let positions = 8 * (self.a.len() + self.b.len()) as u64;
        a + positions + self.index.iter().map(|index| index.bytes()).sum::<u64>()
    }

    fn cells(&self) -> Cells<'_> {
        Cells::None
    }
}
