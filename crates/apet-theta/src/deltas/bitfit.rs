//! BitFit: every bias, and new biases if a model has none (Ben Zaken et al., 2022).

use std::sync::Arc;

use apet_record::{Bitfit, SpecError};

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    deltas::dense::Dense,
    hooks::PointHooks,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::{format::PeftFormat, piece::Piece},
    weight::{AttachPoint, Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[];

static KIND: DeltaKind = DeltaKind {
    name: "bias",
    operation: Some(Operation::Add),
    exclusive: false,
    merge: Merge::Never {
        what: "a bias of a layer that has none",
        export: "apet",
    },
    read: |_, target, _| {
        let layer = target.linear();
        Ok(layer.map(|_| Arc::new(NewBias) as Arc<dyn Delta>))
    },
};

/// A bias of a linear layer that has none, `[out]`.
#[derive(Clone, Debug)]
struct NewBias;

impl BuildDeltas for Bitfit {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        let biases = || context.sites().filter(|(_, site)| site.is_bias());
        biases().for_each(|(id, site)| {
            layout.push(AttachPoint::Site(id), Target::Site(site), Dense);
        });
        if biases().next().is_none() {
            let linear = context
                .sites()
                .filter(|(_, site)| site.linear_layer().is_some());
            linear.for_each(|(id, site)| {
                layout.push(AttachPoint::Site(id), Target::Site(site), NewBias);
            });
        }
        Ok(())
    }
}

impl Delta for NewBias {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: target.beside("bias"),
            part: "bias",
            shape: vec![target.matrix()[0]],
            initial: Initial::Zero,
        }]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        target.matrix()[0] as u64
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
        hooks.biases.push(&tensors.leaves[0]);
    }

    /// No tensor of the model can hold it, see [`DeltaKind::merge`].
    fn merge(&self, _values: &DeltaValues<'_>, _tensor: &mut [f32], _width: usize) {}

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry::default()
    }

    fn to_peft(&self, _target: Target<'_>, _values: &DeltaValues<'_>) -> Result<Piece, String> {
        Err("is a bias of a layer that has none, which peft cannot add; export it as apet".into())
    }

    fn activations(&self, _target: Target<'_>) -> usize {
        0
    }

    fn needs_input(&self) -> bool {
        false
    }

    fn index_bytes(&self, _target: Target<'_>) -> u64 {
        0
    }

    fn cells(&self) -> Cells<'_> {
        Cells::None
    }
}
