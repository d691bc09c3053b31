//! The classification head, which every classifier trains and which is counted apart.

use std::sync::Arc;

use apet_kernels::linear;
use apet_record::{HeadOnly, SpecError};

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    hooks::PointHooks,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::{format::PeftFormat, piece::Piece},
    weight::{Initial, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[];
/// Standard deviation of the weight's initial values, as in transformers.
const DEVIATION: f64 = 0.02;

static KIND: DeltaKind = DeltaKind {
    name: "head",
    operation: None,
    exclusive: false,
    merge: Merge::Never {
        what: "the head",
        export: "apet",
    },
    read: |entry, target, _| {
        let fits = matches!(target, Target::Head(_));
        Ok(fits.then(|| Arc::new(ClassHead::new(entry.size)) as Arc<dyn Delta>))
    },
};

/// Weight `[classes, hidden]` and bias `[classes]` of the head.
#[derive(Clone, Debug)]
pub(crate) struct ClassHead {
    classes: usize,
}

impl ClassHead {
    pub(crate) fn new(classes: usize) -> Self {
        Self { classes }
    }
}

impl BuildDeltas for HeadOnly {
    /// The objective adds the head, whatever the method.
    fn build(
        &self,
        _number: usize,
        _context: &BuildContext<'_>,
        _layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        Ok(())
    }
}

impl Delta for ClassHead {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        let normal = Initial::Normal {
            deviation: DEVIATION,
        };
        let tensor = |name: &str, part, shape, initial| TensorSpec {
            name: format!("head.{name}"),
            part,
            shape,
            initial,
        };
        let (classes, width) = (self.classes, target.matrix()[0]);
        vec![
            tensor("weight", "head_weight", vec![classes, width], normal),
            tensor("bias", "head_bias", vec![classes], Initial::Zero),
        ]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        (self.classes * (target.matrix()[0] + 1)) as u64
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
        let (weight, bias) = (tensors.matrix(0), &tensors.leaves[1]);
        hooks.head = Some(Box::new(move |pooled| {
            linear(pooled, weight.clone(), Some(bias.clone()))
        }));
    }

    /// No tensor of the model can hold it, see [`DeltaKind::merge`].
    fn merge(&self, _values: &DeltaValues<'_>, _tensor: &mut [f32], _width: usize) {}

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry {
            size: self.classes,
            ..Entry::default()
        }
    }

    fn to_peft(&self, _target: Target<'_>, _values: &DeltaValues<'_>) -> Result<Piece, String> {
        Err("is the head, which is no adapter".into())
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
