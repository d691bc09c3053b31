//! Bottleneck adapters h + W_up gelu(W_down h + b_down) + b_up (Houlsby et al., 2019).

use std::sync::Arc;

use apet_kernels::{gelu_tanh, linear};
use apet_record::{Adapter, SpecError};
use burn::Tensor;

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    hooks::PointHooks,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::{format::PeftFormat, piece::Piece},
    weight::{AttachPoint, Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[];

static KIND: DeltaKind = DeltaKind {
    name: "adapter",
    operation: Some(Operation::Plug),
    exclusive: false,
    merge: Merge::Never {
        what: "an adapter",
        export: "apet",
    },
    read: |entry, target, _| {
        let delta = Bottleneck::new(entry.size, 0.0);
        let fits = matches!(target, Target::InsertionPoint(_));
        Ok(fits.then(|| Arc::new(delta) as Arc<dyn Delta>))
    },
};

/// W_down `[bottleneck, width]`, b_down, W_up `[width, bottleneck]`, b_up.
#[derive(Clone, Debug)]
pub(crate) struct Bottleneck {
    bottleneck: usize,
    /// Standard deviation of the weights' initial values.
    deviation: f64,
}

impl Bottleneck {
    pub(crate) fn new(bottleneck: usize, deviation: f64) -> Self {
        Self {
            bottleneck,
            deviation,
        }
    }
}

impl BuildDeltas for Adapter {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        for (id, point, sub_layer) in context.insertion_points() {
            if self.after.contains(&sub_layer) {
                let at = AttachPoint::InsertionPoint(id);
                let delta = Bottleneck::new(self.bottleneck, self.deviation);
                layout.push(at, Target::InsertionPoint(point), delta);
            }
        }
        Ok(())
    }
}

impl Delta for Bottleneck {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        let (bottleneck, width) = (self.bottleneck, target.matrix()[0]);
        let tensor = |name: &str, part, shape, initial| TensorSpec {
            name: format!("{}.adapter.{name}", target.name()),
            part,
            shape,
            initial,
        };
        let normal = Initial::Normal {
            deviation: self.deviation,
        };
        let (down, up) = (vec![bottleneck, width], vec![width, bottleneck]);
        vec![
            tensor("down.weight", "adapter_down_weight", down, normal),
            tensor(
                "down.bias",
                "adapter_down_bias",
                vec![bottleneck],
                Initial::Zero,
            ),
            tensor("up.weight", "adapter_up_weight", up, normal),
            tensor("up.bias", "adapter_up_bias", vec![width], Initial::Zero),
        ]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        ((2 * self.bottleneck + 1) * target.matrix()[0] + self.bottleneck) as u64
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
        let layer = |number| (tensors.matrix(number), &tensors.leaves[number + 1]);
        let (down, up) = (layer(0), layer(2));
        let product = |x: Tensor<2>, (weight, bias): &(Tensor<2>, &Tensor<1>)| {
            linear(x, weight.clone(), Some((*bias).clone()))
        };
        hooks.plugs.push(Box::new(move |h| {
            let narrow = gelu_tanh(product(h.clone(), &down));
            h + product(narrow, &up)
        }));
    }

    /// No tensor of the model can hold it, see [`DeltaKind::merge`].
    fn merge(&self, _values: &DeltaValues<'_>, _tensor: &mut [f32], _width: usize) {}

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry {
            size: self.bottleneck,
            ..Entry::default()
        }
    }

    fn to_peft(&self, _target: Target<'_>, _values: &DeltaValues<'_>) -> Result<Piece, String> {
        Err("is a bottleneck adapter, which peft does not have; export it as apet".into())
    }

    /// An adapter's input, and its narrow states before and after GELU.
    fn activations(&self, target: Target<'_>) -> usize {
        target.matrix()[0] + 2 * self.bottleneck
    }

    fn needs_input(&self) -> bool {
        true
    }

    fn index_bytes(&self, _target: Target<'_>) -> u64 {
        0
    }

    fn cells(&self) -> Cells<'_> {
        Cells::None
    }
}
