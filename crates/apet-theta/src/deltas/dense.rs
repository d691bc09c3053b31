//! A copy of a tensor, trained and used in its place.

use std::sync::Arc;

use apet_record::Part;

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    hooks::PointHooks,
    peft::{format::PeftFormat, piece::Piece},
    weight::{Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[];
/// The format of whole norms.
pub(crate) const LN_TUNING: &str = "LN_TUNING";

static KIND: DeltaKind = DeltaKind {
    name: "dense",
    operation: Some(Operation::Add),
    exclusive: true,
    merge: Merge::Replace,
    read: |_, target, _| Ok(target.site().map(|_| Arc::new(Dense) as Arc<dyn Delta>)),
};

/// A copy of a site's tensor, used in its place.
#[derive(Clone, Debug)]
pub(crate) struct Dense;

impl Delta for Dense {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: target.name().into(),
            part: "dense",
            shape: target.shape(),
            initial: Initial::Frozen(|frozen, _| frozen),
        }]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        target.shape().iter().map(|&n| n as u64).product()
    }

    fn positions(&self) -> [&[u64]; 2] {
        [&[], &[]]
    }

    fn constants(
        &self,
        _target: Target<'_>,
        _source: &mut ConstantSource<'_>,
    ) -> Vec<DeltaConstant> {
        Vec::new()
    }

    fn hook<'a>(&'a self, tensors: &DeltaTensors<'a>, hooks: &mut PointHooks<'a>) {
        hooks.tensor = Some(&tensors.leaves[0]);
    }

    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], _width: usize) {
        tensor.copy_from_slice(values.of(0));
    }

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry::default()
    }

    fn to_peft(&self, target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        if target.site().is_none_or(|site| site.part != Part::Norm) {
            return Err(
                "is a whole tensor, which peft holds of norms only; export it as merged or apet"
                    .into(),
            );
        }
        Ok(Piece {
            format: LN_TUNING,
            part: "",
            tensors: vec![(target.shape(), values.of(0).to_vec())],
            positions: Vec::new(),
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
        0
    }

    fn cells(&self) -> Cells<'_> {
        Cells::All
    }
}
