//! Values at selected positions of a tensor, added to the frozen ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use apet_kernels::SparseIndex;
use apet_plm::Site;
use apet_record::{Module, Part};
use burn::tensor::Device;
use serde_json::json;

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    deltas::lora::read_pairs,
    error::FileError,
    hooks::PointHooks,
    peft::{
        format::PeftFormat,
        module::{WRAPPED, rows_of},
        piece::Piece,
        pieces::{Pieces, Written},
        reader::{Found, Numbers, Reader, tensor_error},
    },
    weight::{AttachPoint, Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[
    PeftFormat {
        id: SHIRA,
        peft_type: SHIRA,
        fields: &[],
        claims: |_| true,
        method: None,
        read: |reader, found| read(reader, ("shira_indices", "shira_weight"), found),
        frozen: |_| Vec::new(),
        write,
    },
    PeftFormat {
        id: "SUPERTUNING",
        peft_type: "SUPERTUNING",
        fields: &[],
        claims: |_| true,
        method: None,
        read: |reader, found| {
            read(reader, ("supertuning_indices", "supertuning_values"), found)?;
            let (a, b) = ("supertuning_lora_A.weight", "supertuning_lora_B.weight");
            read_pairs(reader, a, b, found)
        },
        frozen: |_| Vec::new(),
        write: |_| Err(FileError("SUPERTUNING is read only".into())),
    },
];
const SHIRA: &str = "SHIRA";

static KIND: DeltaKind = DeltaKind {
    name: "sparse",
    operation: Some(Operation::Add),
    exclusive: false,
    merge: Merge::Add,
    read: |entry, target, positions| {
        let Some(site) = target.site() else {
            return Ok(None);
        };
        let taken = positions.take(entry.size, site.len())?;
        Ok(Some(Arc::new(Sparse::new(site, taken, positions.device))))
    },
};

/// Values at positions of a site, added to the frozen tensor.
#[derive(Clone, Debug)]
pub(crate) struct Sparse {
    /// Row-major, ascending, in the site's own shape.
    positions: Vec<u64>,
    /// The same on the device, in the shape the operation takes.
    index: Box<SparseIndex>,
}

impl Sparse {
    pub(crate) fn new(site: &Site, positions: Vec<u64>, device: &Device) -> Self {
        let index = Box::new(index(site, &positions, device));
        Self { positions, index }
    }
}

/// The matrix a site's delta acts as: a linear weight or a table as it is; a LayerNorm scale as a
/// diagonal on the normalized input; a bias as one column on a constant input of 1.
fn index(site: &Site, positions: &[u64], device: &Device) -> SparseIndex {
    match site.shape[..] {
        [rows, cols] => SparseIndex::new(rows, cols, positions, device),
        _ if site.is_bias() => SparseIndex::new(site.len(), 1, positions, device),
        _ => {
            let width = site.len() as u64;
            let diagonal: Vec<u64> = positions.iter().map(|p| p * width + p).collect();
            SparseIndex::new(site.len(), site.len(), &diagonal, device)
        }
    }
}

impl Delta for Sparse {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: format!("{}.sparse", target.name()),
            part: "sparse",
            shape: vec![self.positions.len()],
            initial: Initial::Zero,
        }]
    }

    fn count(&self, _target: Target<'_>) -> u64 {
        self.positions.len() as u64
    }

    fn positions(&self) -> [&[u64]; 2] {
        [&self.positions, &[]]
    }

    fn constants(
        &self,
        _target: Target<'_>,
        _source: &mut ConstantSource<'_>,
    ) -> Vec<DeltaConstant> {
        Vec::new()
    }

    fn hook<'a>(&'a self, tensors: &DeltaTensors<'a>, hooks: &mut PointHooks<'a>) {
        hooks.sparse.push((&tensors.leaves[0], &self.index));
    }

    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], _width: usize) {
        for (&position, value) in self.positions.iter().zip(values.of(0)) {
            tensor[position as usize] += value;
        }
    }

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry {
            size: self.positions.len(),
            ..Entry::default()
        }
    }

    fn to_peft(&self, target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        if let Some(site) = target.site().filter(|_| target.linear().is_none()) {
            let what = match site.module {
                Module::Bias => "a bias",
                Module::Norm => "a norm",
                _ if site.part == Part::Embedding => "an embedding, tied or not",
                _ => "no linear layer of a block",
            };
            return Err(format!(
                "is a delta on {what}, peft's SHIRA holds linear weights only; export it as merged or apet"
            ));
        }
        Ok(Piece {
            format: SHIRA,
            part: "",
            tensors: vec![(vec![self.positions.len()], values.of(0).to_vec())],
            positions: self.positions.clone(),
            scale: 1.0,
        })
    }

    fn activations(&self, _target: Target<'_>) -> usize {
        0
    }

    fn needs_input(&self) -> bool {
        true
    }

    fn index_bytes(&self, _target: Target<'_>) -> u64 {
        self.index.bytes() + 8 * self.positions.len() as u64
    }

    fn cells(&self) -> Cells<'_> {
        Cells::At(&self.positions)
    }
}

fn read(
    reader: &mut Reader<'_>,
    (indices, weights): (&str, &str),
    found: &mut Found,
) -> Result<(), FileError> {
    for (module, path) in reader.with(weights)? {
        let [outputs, inputs] = reader.shape(&module);
        let name = format!("{path}.{indices}");
        reader.check_linear(&module, &name)?;
        let Some(stored) = reader.tensors.remove(&name) else {
            return Err(tensor_error(
                &name,
                "is missing: its places are not stored, so they cannot be read; save it with save_precomputed_indices",
            ));
        };
        let Numbers::Ints(places) = stored.numbers else {
            return Err(tensor_error(&name, "has floats, expected whole numbers"));
        };
        let count = match stored.shape[..] {
            [2, count] | [count] => count,
            ref other => {
                return Err(tensor_error(
                    &name,
                    format!("has shape {other:?}, expected [2, n] or [n]"),
                ));
            }
        };
        let values = reader.floats(&format!("{path}.{weights}"), &[count])?;
        let size = (outputs * inputs) as i64;
        let flat: Vec<i64> = match stored.shape.len() {
            1 => places,
            _ => {
                let (rows, columns) = places.split_at(count);
                let within =
                    |(&row, &column): (&i64, &i64)| match (0..inputs as i64).contains(&column) {
                        true => row.saturating_mul(inputs as i64).saturating_add(column),
                        false => -1,
                    };
                rows.iter().zip(columns).map(within).collect()
            }
        };
        if let Some(wrong) = flat.iter().find(|place| !(0..size).contains(*place)) {
            return Err(tensor_error(
                &name,
                format!("has place {wrong}, the layer has {outputs} x {inputs} scalars"),
            ));
        }
        // Values of one place add up, as in a sparse matrix of PyTorch.
        let mut at: BTreeMap<i64, f32> = BTreeMap::new();
        for (place, value) in flat.into_iter().zip(values) {
            *at.entry(place).or_default() += value;
        }
        for &id in &module.weights {
            let site = &reader.architecture.sites[id];
            let own = at.iter().filter_map(|(&place, &value)| {
                let (row, column) = (place as usize / inputs, place as usize % inputs);
                let row = match site.rows {
                    None => Some(row),
                    Some(rows) => rows.within(row),
                }?;
                Some(((row * inputs + column) as u64, value))
            });
            let mut own: Vec<(u64, f32)> = own.collect();
            own.sort_unstable_by_key(|(place, _)| *place);
            if own.is_empty() {
                continue;
            }
            let (positions, values): (Vec<u64>, Vec<f32>) = own.into_iter().unzip();
            let delta = Sparse::new(site, positions, reader.device);
            found
                .layout
                .push(AttachPoint::Site(id), Target::Site(site), delta);
            found.values.extend(values);
        }
    }
    Ok(())
}

fn write(pieces: &Pieces<'_>) -> Result<Written, FileError> {
    // Every layer gets as many values as LoRA of one rank would have there.
    let mut layers = Vec::new();
    let (mut rank, mut nominal) = (0, 0);
    for (module, parts) in pieces.modules() {
        let width = pieces.site(parts[0].0).shape[1];
        let mut at: BTreeMap<u64, f32> = BTreeMap::new();
        for (id, own) in &parts {
            let rows = rows_of(pieces.site(*id));
            for piece in own {
                for (&position, value) in piece.positions.iter().zip(&piece.tensors[0].1) {
                    let (row, column) = (position as usize / width, position as usize % width);
                    at.insert((rows[row] * width + column) as u64, *value);
                }
            }
        }
        nominal += at.len();
        let rows = pieces.rows(&module);
        rank = rank.max(at.len().div_ceil(rows + width));
        layers.push((pieces.path(&module), rows, width, at));
    }
    let (mut targets, mut tensors, mut padded) = (Vec::new(), Vec::new(), 0);
    for (path, rows, width, mut at) in layers {
        let count = rank * (rows + width);
        if count > rows * width {
            return Err(FileError(format!(
                "{path}: SHIRA of rank {rank} has {count} values a layer, this one has {} scalars; export it as merged or apet",
                rows * width
            )));
        }
        let free = (0..(rows * width) as u64).filter(|place| !at.contains_key(place));
        let free: Vec<u64> = free.take(count - at.len()).collect();
        at.extend(free.into_iter().map(|place| (place, 0.0)));
        padded += count;
        let places = at.keys().map(|&place| place as usize);
        let row = places.clone().map(|place| (place / width) as i32);
        let indices = row.chain(places.map(|place| (place % width) as i32));
        let name = |part: &str| format!("{WRAPPED}{path}.{part}");
        let indices: Vec<i32> = indices.collect();
        tensors.push((name("shira_indices"), vec![2, count], indices.into()));
        let values: Vec<f32> = at.into_values().collect();
        tensors.push((name("shira_weight"), vec![count], values.into()));
        targets.push(path);
    }
    Ok(Written {
        targets,
        fields: json!({
            "r": rank,
            "mask_type": "random",
            "random_seed": 0,
            "fan_in_fan_out": false,
            "init_weights": true,
        }),
        tensors,
        note: format!(
            "SHIRA keeps the same rank in every layer: {nominal} tuned values are stored as {padded}, the others are 0 at places that are not tuned."
        ),
    })
}
