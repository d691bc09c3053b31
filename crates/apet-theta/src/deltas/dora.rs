//! DoRA: m (W + scale B A) / ||W + scale B A|| in the place of a linear weight W, with a norm and a
//! magnitude m for every output (Liu et al., 2024). As in peft, the norm is a constant to the gradient
//! (section 4.3 of the paper), and m begins as ||W||.

use std::sync::Arc;

use apet_kernels::linear;
use apet_plm::SiteId;
use apet_record::{Dora, SpecError};
use burn::Tensor;

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    deltas::lora::{Size, pair_fields, pair_scale, size_fields},
    error::FileError,
    hooks::PointHooks,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::{
        format::PeftFormat,
        module::{WRAPPED, rows_of},
        piece::Piece,
        pieces::{Pieces, Written},
        reader::{Found, Reader},
    },
    weight::{AttachPoint, Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[PeftFormat {
    id: DORA,
    peft_type: "LORA",
    fields: &["use_dora"],
    claims: |config| config.is_true("use_dora"),
    method: Some(|config| {
        let (rank, alpha, targets) = pair_fields(config)?;
        Ok(Dora {
            rank,
            alpha,
            targets,
        }
        .into())
    }),
    read,
    frozen,
    write,
}];
const DORA: &str = "LORA with use_dora";

static KIND: DeltaKind = DeltaKind {
    name: "dora",
    operation: Some(Operation::Add),
    exclusive: true,
    merge: Merge::Replace,
    read: |entry, target, _| {
        let delta = WeightDecomposed {
            rank: entry.size,
            scale: entry.scale.unwrap_or(1.0),
        };
        Ok(target.linear().map(|_| Arc::new(delta) as Arc<dyn Delta>))
    },
};

/// A `[rank, in]`, B `[out, rank]` and the magnitude m `[out]`.
#[derive(Clone, Debug)]
struct WeightDecomposed {
    rank: usize,
    /// alpha / rank.
    scale: f64,
}

impl BuildDeltas for Dora {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        for (id, site) in context.linear(&self.targets, "method.targets")? {
            let delta = WeightDecomposed {
                rank: self.rank,
                scale: self.alpha / self.rank as f64,
            };
            layout.push(AttachPoint::Site(id), Target::Site(site), delta);
        }
        Ok(())
    }
}

/// The squared norm of every row of a weight: flat, of a shape, to `[out]`.
fn squares(weight: Tensor<1>, shape: &[usize]) -> Tensor<1> {
    let (rows, width) = (shape[0], shape[1]);
    let weight: Tensor<2> = weight.reshape([rows, width]);
    (weight.clone() * weight).sum_dim(1).reshape([rows])
}

impl Delta for WeightDecomposed {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        let [outputs, inputs] = target.matrix();
        // Kaiming-uniform with a = sqrt(5), as in peft.
        let bound = (inputs as f64).powf(-0.5);
        let tensor = |name: &str, part, shape, initial| TensorSpec {
            name: format!("{}.dora_{name}", target.name()),
            part,
            shape,
            initial,
        };
        let norms = Initial::Frozen(|weight, shape| squares(weight, shape).sqrt());
        let (a, b) = (vec![self.rank, inputs], vec![outputs, self.rank]);
        vec![
            tensor("A", "dora_a", a, Initial::Uniform { bound }),
            tensor("B", "dora_b", b, Initial::Zero),
            tensor("magnitude", "dora_magnitude", vec![outputs], norms),
        ]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        let [outputs, inputs] = target.matrix();
        (self.rank * (outputs + inputs) + outputs) as u64
    }

    fn positions(&self) -> [&[u64]; 2] {
        [&[], &[]]
    }

    /// The squared norm of every row of W, `[out, 1]`.
    fn constants(&self, target: Target<'_>, source: &mut ConstantSource<'_>) -> Vec<DeltaConstant> {
        let (weight, shape) = ((source.frozen)(), target.matrix());
        let squares = weight.map(|weight| squares(weight, &shape).reshape([shape[0], 1]));
        let constant = |tensor| DeltaConstant {
            host: Vec::new(),
            tensor,
        };
        squares.map(constant).into_iter().collect()
    }

    fn hook<'a>(&'a self, tensors: &DeltaTensors<'a>, hooks: &mut PointHooks<'a>) {
        let (a, b, magnitude) = (tensors.matrix(0), tensors.matrix(1), &tensors.leaves[2]);
        let (constants, scale) = (tensors.constants, self.scale);
        hooks.product = Some(Box::new(move |x, weight| {
            // ||W + s B A||² = ||W||² + 2 s <W Aᵀ, B> + s² <B (A Aᵀ), B> by row: never a dense B A.
            let (fixed_a, fixed_b) = (a.clone().detach(), b.clone().detach());
            let projected = linear(fixed_a.clone(), weight.clone(), None).transpose();
            let gram = linear(fixed_a.clone(), fixed_a, None);
            let inner =
                projected * (2.0 * scale) + linear(fixed_b.clone(), gram, None) * (scale * scale);
            let squares = constants[0].tensor.clone() + (inner * fixed_b).sum_dim(1);
            let outputs = squares.dims()[0];
            let norms: Tensor<1> = squares.clamp_min(0.0).sqrt().reshape([outputs]);
            let narrow = linear(x.clone(), a.clone(), None) * scale;
            let y = linear(x, weight, None) + linear(narrow, b.clone(), None);
            y * (magnitude.clone() / norms).unsqueeze()
        }));
    }

    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], width: usize) {
        let (a, rank) = (values.of(0), self.rank);
        let rows = tensor.chunks_exact_mut(width);
        let rows = rows.zip(values.of(1).chunks_exact(rank));
        for ((row, b), &magnitude) in rows.zip(values.of(2)) {
            let whole = row.iter().enumerate().map(|(column, &value)| {
                let products = b.iter().enumerate();
                let sum: f64 = products
                    .map(|(r, &b)| f64::from(b) * f64::from(a[r * width + column]))
                    .sum();
                f64::from(value) + self.scale * sum
            });
            let whole: Vec<f64> = whole.collect();
            let norm = whole.iter().map(|v| v * v).sum::<f64>().sqrt();
            for (value, whole) in row.iter_mut().zip(whole) {
                *value = (f64::from(magnitude) * whole / norm) as f32;
            }
        }
    }

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry {
            size: self.rank,
            scale: Some(self.scale),
            ..Entry::default()
        }
    }

    fn to_peft(&self, target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        let [outputs, inputs] = target.matrix();
        Ok(Piece {
            format: DORA,
            part: "",
            tensors: vec![
                (vec![self.rank, inputs], values.of(0).to_vec()),
                (vec![outputs, self.rank], values.of(1).to_vec()),
                (vec![outputs], values.of(2).to_vec()),
            ],
            positions: Vec::new(),
            scale: self.scale,
        })
    }

    /// The states between A and B, and the product that is scaled.
    fn activations(&self, target: Target<'_>) -> usize {
        self.rank + target.matrix()[0]
    }

    fn needs_input(&self) -> bool {
        true
    }

    /// The norms of W.
    fn index_bytes(&self, target: Target<'_>) -> u64 {
        4 * target.matrix()[0] as u64
    }

    fn cells(&self) -> Cells<'_> {
        Cells::None
    }
}

fn read(reader: &mut Reader<'_>, found: &mut Found) -> Result<(), FileError> {
    for (module, path) in reader.with("lora_A.weight")? {
        let [outputs, inputs] = reader.shape(&module);
        let name = |part: &str| format!("{path}.{part}");
        reader.check_linear(&module, &name("lora_A.weight"))?;
        let rank = reader.first_dimension(&name("lora_A.weight"));
        let of_a = reader.floats(&name("lora_A.weight"), &[rank, inputs])?;
        let of_b = reader.floats(&name("lora_B.weight"), &[outputs, rank])?;
        let magnitudes = reader.floats(&name("lora_magnitude_vector"), &[outputs])?;
        let scale = pair_scale(&reader.config, &path, rank)?;
        for &id in &module.weights {
            let site = &reader.architecture.sites[id];
            let rows = rows_of(site);
            // In a part of a fused layer a component may be 0: it belongs to another part.
            let is_used = |r: &usize| rows.iter().any(|row| of_b[row * rank + r] != 0.0);
            let mut used: Vec<usize> = (0..rank).filter(is_used).collect();
            if used.is_empty() {
                used = (0..rank).collect();
            }
            let delta = WeightDecomposed {
                rank: used.len(),
                scale,
            };
            found
                .layout
                .push(AttachPoint::Site(id), Target::Site(site), delta);
            let a_rows = used.iter().map(|r| &of_a[r * inputs..(r + 1) * inputs]);
            found.values.extend(a_rows.flatten());
            for row in &rows {
                let own = used.iter().map(|r| of_b[row * rank + r]);
                found.values.extend(own);
            }
            found.values.extend(rows.iter().map(|&row| magnitudes[row]));
        }
    }
    Ok(())
}

/// The parts of fused layers that have no delta: their magnitudes are the norms of W.
fn frozen(pieces: &Pieces<'_>) -> Vec<SiteId> {
    let parts = pieces.modules().into_iter().flat_map(|(_, parts)| parts);
    let without = parts.filter(|(_, own)| own.is_empty());
    without.map(|(id, _)| id).collect()
}

fn write(pieces: &Pieces<'_>) -> Result<Written, FileError> {
    let (mut targets, mut tensors) = (Vec::new(), Vec::new());
    let mut sizes: Vec<Size> = Vec::new();
    for (module, parts) in pieces.modules() {
        let path = pieces.path(&module);
        let rank_of = |piece: &Piece| piece.tensors[0].0[0];
        let all = || parts.iter().flat_map(|(_, own)| own);
        let (outputs, inputs) = (pieces.rows(&module), pieces.site(parts[0].0).shape[1]);
        let rank: usize = all().map(|piece| rank_of(piece)).sum();
        let scale = all().next().map_or(1.0, |piece| piece.scale);
        if all().any(|piece| piece.scale != scale) {
            return Err(FileError(format!(
                "{path}: its parts have deltas of different scales, LORA has one a layer; export it as merged or apet"
            )));
        }
        // The parts of a fused layer below one another, with blocks of 0 next to each part's own.
        let (mut a, mut b) = (Vec::new(), vec![0.0; outputs * rank]);
        let mut magnitudes = vec![0.0; outputs];
        let mut first = 0;
        for (id, own) in &parts {
            let rows = rows_of(pieces.site(*id));
            if let (true, Some(weight)) = (own.is_empty(), pieces.frozen.get(id)) {
                for (&row, weight) in rows.iter().zip(weight.chunks_exact(inputs)) {
                    let square = weight.iter().map(|&v| f64::from(v).powi(2));
                    magnitudes[row] = square.sum::<f64>().sqrt() as f32;
                }
            }
            for piece in own {
                let own_rank = rank_of(piece);
                a.extend_from_slice(&piece.tensors[0].1);
                let own_b = piece.tensors[1].1.chunks_exact(own_rank);
                let own = own_b.zip(&piece.tensors[2].1);
                for (&row, (own_b, &magnitude)) in rows.iter().zip(own) {
                    let start = row * rank + first;
                    b[start..start + own_rank].copy_from_slice(own_b);
                    magnitudes[row] = magnitude;
                }
                first += own_rank;
            }
        }
        let name = |part: &str| format!("{WRAPPED}{path}.{part}");
        tensors.push((name("lora_A.weight"), vec![rank, inputs], a.into()));
        tensors.push((name("lora_B.weight"), vec![outputs, rank], b.into()));
        let magnitude = name("lora_magnitude_vector");
        tensors.push((magnitude, vec![outputs], magnitudes.into()));
        sizes.push((path.clone(), rank, scale * rank as f64));
        targets.push(path);
    }
    let mut fields = size_fields(&sizes);
    fields["use_dora"] = true.into();
    Ok(Written {
        targets,
        fields,
        tensors,
        note: String::new(),
    })
}
