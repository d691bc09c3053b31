//! theta itself: one flat vector and its layout.

use std::collections::BTreeSet;

use apet_plm::{INPUT, InsertionPoint, Kind, ModelArchitecture, Plm, Site, SiteId};
use apet_record::{Objective, RunSpec, SpecError, Stream, ThetaInfo};
use burn::{
    Tensor,
    tensor::{DType, Device, Gradients, TensorData},
};

use safetensors::tensor::TensorView;

use crate::{
    delta::{Attached, ConstantSource, DeltaConstant, DeltaTensors, DeltaValues},
    delta_hooks::DeltaHooks,
    deltas::{self, head::ClassHead},
    error::FileError,
    layout_builder::{BuildContext, LayoutBuilder},
    pool::Placed,
    weight::{AttachPoint, Initial, Weight},
};

/// What theta consists of, before it has values: enough to count and to plan.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Every delta; the head comes last.
    pub deltas: Vec<Attached>,
    /// The tensors of all deltas, in the order of the flat vector.
    pub weights: Vec<Weight>,
    /// Counts.
    pub info: ThetaInfo,
}

/// The tunable parameters of one run. The model they stand on is not touched.
#[derive(Clone, Debug)]
pub struct Theta {
    layout: Layout,
    values: Tensor<1>,
    /// Seed of the initial values.
    init: u64,
    /// The constants of each delta.
    constants: Vec<Vec<DeltaConstant>>,
}

/// The weights as tensors of a forward pass, in the order of [`Theta::weights`].
#[derive(Clone, Debug)]
pub struct Leaves(pub(crate) Vec<Tensor<1>>);

/// The part of a model that a forward pass uses: which sites, which places.
pub type Used<'a> = (
    &'a dyn Fn(&Site) -> bool,
    &'a dyn Fn(&InsertionPoint) -> bool,
);

/// All of a model.
pub const ALL: Used<'static> = (&|_| true, &|_| true);

impl Layout {
    /// What a run with `classes` labels tunes on a model: weights and places, kept on `device`.
    /// Where the spec selects by values, gradients or a mask, `chosen` are its places; without
    /// them as many are drawn from the same pool, which is enough to plan.
    ///
    /// # Errors
    /// Names the field of the spec that does not fit the model.
    pub fn new(
        architecture: &ModelArchitecture,
        spec: &RunSpec,
        classes: usize,
        chosen: Option<&Placed>,
        device: &Device,
    ) -> Result<Self, SpecError> {
        let (name, pooling) = (&architecture.name, spec.head.pooling);
        let refuse = |field: &str, problem: String| {
            Err(SpecError {
                field: field.into(),
                problem,
            })
        };
        match spec.objective {
            Objective::ClassHead if !architecture.can_pool(pooling) => refuse(
                "head.pooling",
                format!(
                    "found \"{}\", {name} has no such state; use \"mean\"",
                    pooling.name()
                ),
            ),
            Objective::ClassHead => {
                let used: Used<'_> = (
                    &|site| architecture.in_classification(site, pooling),
                    &|place| architecture.insertion_point_in_classification(place),
                );
                Self::over(architecture, spec, Some(classes), chosen, device, used)
            }
            Objective::LabelWords if architecture.kind() == Kind::Encoder => refuse(
                "objective",
                format!(
                    "found \"label_words\", {name} is an encoder and writes none; use \"class_head\""
                ),
            ),
            Objective::LabelWords => Self::over(architecture, spec, None, chosen, device, ALL),
        }
    }

    /// The same over the sites that are `used`, with a head for `classes` classes or without one:
    /// for another forward pass.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn over(
        architecture: &ModelArchitecture,
        spec: &RunSpec,
        classes: Option<usize>,
        chosen: Option<&Placed>,
        device: &Device,
        (site, place): Used<'_>,
    ) -> Result<Self, SpecError> {
        let context = BuildContext {
            architecture,
            site,
            insertion_point: place,
            placement: spec.seeds.placement,
            chosen,
            device,
        };
        let mut layout = deltas::build(&spec.method, &context)?;
        if let Some(classes) = classes {
            let at = AttachPoint::Head;
            layout.push(at, at.target(architecture), ClassHead::new(classes));
        }
        Ok(Self::from_builder(spec.method.name(), layout, architecture))
    }

    /// Counts the parameters of all deltas.
    pub(crate) fn from_builder(
        method: &str,
        layout: LayoutBuilder,
        architecture: &ModelArchitecture,
    ) -> Self {
        let weights = layout.weights;
        let count = |head: bool| -> u64 {
            let counted = weights.iter().filter(|w| w.is_head() == head);
            counted.map(|w| w.len() as u64).sum()
        };
        let info = ThetaInfo {
            method: method.into(),
            requested_parameters: layout.requested_parameters,
            trainable_parameters: count(false),
            head: count(true),
            weights: weights.iter().filter(|w| !w.is_head()).count(),
            candidate_parameters: layout.candidates,
            positions_hash: positions_hash(&layout.deltas, &weights, architecture),
            note: layout.note,
            extra: Default::default(),
        };
        Self {
            deltas: layout.deltas,
            weights,
            info,
        }
    }

    /// Bytes of the deltas' indices and constants on a device.
    pub fn index_bytes(&self, architecture: &ModelArchitecture) -> u64 {
        let deltas = self.deltas.iter();
        let bytes = deltas.map(|own| own.delta.index_bytes(own.at.target(architecture)));
        bytes.sum()
    }

    /// The sites whose layers' inputs the gradient needs.
    pub fn input_sites(&self) -> BTreeSet<SiteId> {
        let deltas = self.deltas.iter();
        let deltas = deltas.filter(|attached| attached.delta.needs_input());
        deltas.filter_map(|attached| attached.at.site()).collect()
    }

    /// Numbers that the gradient keeps of a block for each token, its layers' inputs not included.
    pub fn activations(&self, architecture: &ModelArchitecture, block: usize) -> usize {
        let deltas = self.deltas.iter();
        let deltas = deltas.filter(|attached| attached.at.layer(architecture) == Some(block));
        let kept = deltas.map(|own| own.delta.activations(own.at.target(architecture)));
        kept.sum()
    }

    /// Scalars in all, those of the head too.
    pub fn len(&self) -> usize {
        self.weights.iter().map(Weight::len).sum()
    }

    /// Tokens that it puts before the embedded input.
    pub fn virtual_tokens(&self) -> usize {
        let prompts = self
            .weights
            .iter()
            .filter(|w| w.at == AttachPoint::InsertionPoint(INPUT));
        prompts.map(|w| w.shape[0]).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lowest block that a gradient goes through, where there is one. What lies outside the blocks
    /// counts as the block after it.
    pub fn lowest_block(&self, architecture: &ModelArchitecture) -> Option<usize> {
        let block = |weight: &Weight| match weight.at {
            AttachPoint::Head => None,
            // What stands before the input goes through all blocks.
            AttachPoint::InsertionPoint(place) => {
                Some(architecture.insertion_points[place].layer.unwrap_or(0))
            }
            AttachPoint::Site(site) => architecture.sites[site].layer.or_else(|| {
                let before = architecture.sites[..site]
                    .iter()
                    .filter_map(|s| s.layer)
                    .max();
                Some(before.map_or(0, |block| block + 1))
            }),
        };
        self.weights.iter().filter_map(block).min()
    }
}

/// Gradients of theta's weights from some of the graphs that a loss comes from.
#[derive(Debug, Default)]
pub struct Partial(Vec<Option<Tensor<1>>>);

impl Partial {
    /// Adds the gradients of one graph.
    pub fn add(&mut self, leaves: &Leaves, gradients: &mut Gradients) {
        self.0.resize_with(leaves.0.len(), || None);
        for (sum, leaf) in self.0.iter_mut().zip(&leaves.0) {
            *sum = match (sum.take(), leaf.grad_remove(gradients)) {
                (Some(sum), Some(gradient)) => Some(sum + gradient),
                (sum, gradient) => sum.or(gradient),
            };
        }
    }
}

impl Theta {
    /// Makes theta for a run with `classes` labels: its layout, its places and its initial
    /// values. `chosen` as in [`Layout::new`].
    ///
    /// # Errors
    /// Names the field of the spec that does not fit the model.
    pub fn new(
        plm: &Plm,
        spec: &RunSpec,
        classes: usize,
        chosen: Option<&Placed>,
    ) -> Result<Self, SpecError> {
        let layout = Layout::new(plm.architecture(), spec, classes, chosen, plm.device())?;
        Ok(Self::of(plm, spec.seeds.init, layout))
    }

    /// Gives a layout its initial values, drawn under `seed`.
    pub fn of(plm: &Plm, seed: u64, layout: Layout) -> Self {
        let values = initial_values(plm, &layout.weights, seed);
        let constants = constants(plm, &layout.deltas, seed);
        Self {
            layout,
            values,
            init: seed,
            constants,
        }
    }

    /// What it consists of.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Every weight, in the order of the flat vector; the head comes last.
    pub fn weights(&self) -> &[Weight] {
        &self.layout.weights
    }

    /// The classification head among `values`: classes, weight, bias.
    pub(crate) fn head(&self, values: &[f32]) -> Option<(usize, Vec<f32>, Vec<f32>)> {
        let deltas = &self.layout.deltas;
        let number = deltas.iter().position(|own| own.at == AttachPoint::Head)?;
        let own = self.delta_values(number, values);
        let (weight, bias) = (own.of(0).to_vec(), own.of(1).to_vec());
        Some((bias.len(), weight, bias))
    }

    /// Whether a delta has constants that were drawn under the seed of the initial values.
    pub(crate) fn has_drawn_constants(&self) -> bool {
        let mut constants = self.constants.iter().flatten();
        constants.any(|constant| !constant.host.is_empty())
    }

    /// The tensors of a delta in a forward pass.
    fn tensors<'a>(&'a self, delta: usize, leaves: &'a Leaves) -> DeltaTensors<'a> {
        let weights = self.layout.deltas[delta].weights.clone();
        DeltaTensors {
            leaves: &leaves.0[weights.clone()],
            weights: &self.layout.weights[weights],
            constants: &self.constants[delta],
        }
    }

    /// The values of a delta, of all of theta's.
    pub(crate) fn delta_values<'a>(&'a self, delta: usize, theta: &'a [f32]) -> DeltaValues<'a> {
        let weights = self.layout.deltas[delta].weights.clone();
        DeltaValues {
            theta,
            weights: &self.layout.weights[weights],
            constants: &self.constants[delta],
        }
    }

    /// Tokens that it puts before the embedded input.
    pub fn virtual_tokens(&self) -> usize {
        self.layout.virtual_tokens()
    }

    /// Counts.
    pub fn info(&self) -> &ThetaInfo {
        &self.layout.info
    }

    /// All values, `[parameters]`, on the model's device, outside autodiff.
    pub fn values(&self) -> Tensor<1> {
        self.values.clone()
    }

    /// Replaces all values.
    pub fn set_values(&mut self, values: Tensor<1>) {
        debug_assert_eq!(values.dims(), self.values.dims());
        self.values = values;
    }

    /// Changes all values, where they lie if nothing else holds them; gives what `change` gives beside.
    pub fn change<R>(&mut self, change: impl FnOnce(Tensor<1>) -> (Tensor<1>, R)) -> R {
        let none = Tensor::empty([0], &self.values.device());
        let (values, beside) = change(std::mem::replace(&mut self.values, none));
        self.values = values;
        beside
    }

    /// The weights for a forward pass without gradients.
    pub fn constants(&self) -> Leaves {
        Leaves(self.parts(&self.values).collect())
    }

    /// The weights for a forward pass, each a leaf that keeps its gradient.
    pub fn leaves(&self) -> Leaves {
        let leaves = self.parts(&self.values);
        Leaves(leaves.map(|t| t.autodiff().require_grad()).collect())
    }

    /// The hooks that carry `leaves` into a model's forward pass.
    pub fn hooks<'a>(&'a self, leaves: &'a Leaves) -> DeltaHooks<'a> {
        let deltas = self.layout.deltas.iter().enumerate();
        let deltas = deltas.map(|(number, attached)| (attached, self.tensors(number, leaves)));
        DeltaHooks::new(deltas.collect())
    }

    /// The gradient of all of theta as one flat vector; a weight the loss does not depend on has 0.
    pub fn gradient(&self, leaves: &Leaves, gradients: &mut Gradients) -> Tensor<1> {
        let mut partial = Partial::default();
        partial.add(leaves, gradients);
        self.whole(partial)
    }

    /// The sum of the gradients of several graphs as one flat vector.
    pub fn whole(&self, partial: Partial) -> Tensor<1> {
        let device = self.values.device();
        let parts = partial.0.into_iter().zip(&self.layout.weights);
        let parts = parts.map(|(gradient, weight)| {
            gradient.unwrap_or_else(|| Tensor::zeros([weight.len()], &device))
        });
        Tensor::cat(parts.collect(), 0)
    }

    /// Seed of the initial values.
    pub(crate) fn init(&self) -> u64 {
        self.init
    }

    /// A head that no class of transformers has, as a safetensors file: `weight`
    /// `[classes, hidden]` and `bias` `[classes]`.
    pub(crate) fn head_file(&self, values: &[f32]) -> Result<Option<Vec<u8>>, FileError> {
        let Some((classes, weight, bias)) = self.head(values) else {
            return Ok(None);
        };
        let bytes = |v: &[f32]| -> Vec<u8> { v.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let shape = vec![classes, weight.len() / classes.max(1)];
        let (weight, bias) = (bytes(&weight), bytes(&bias));
        let wrong = |e: safetensors::SafeTensorError| FileError(e.to_string());
        let view = |shape, data| TensorView::new(safetensors::Dtype::F32, shape, data);
        let tensors = [
            ("weight", view(shape, &weight).map_err(wrong)?),
            ("bias", view(vec![classes], &bias).map_err(wrong)?),
        ];
        safetensors::serialize(tensors, None)
            .map(Some)
            .map_err(wrong)
    }

    fn parts<'a>(&'a self, flat: &'a Tensor<1>) -> impl Iterator<Item = Tensor<1>> + 'a {
        let part = |w: &Weight| flat.clone().slice(w.offset..w.offset + w.len());
        self.layout.weights.iter().map(part)
    }
}

fn initial_values(plm: &Plm, weights: &[Weight], seed: u64) -> Tensor<1> {
    let mut own = Stream::new("init", seed);
    let mut head = Stream::new("init head", seed);
    let parts = weights.iter().map(|w| {
        let stream = if w.is_head() { &mut head } else { &mut own };
        let mut drawn = |draw: &mut dyn FnMut(&mut Stream) -> f64| {
            floats(
                plm.device(),
                (0..w.len()).map(|_| draw(stream) as f32).collect(),
            )
        };
        match (w.initial, w.at) {
            (Initial::Frozen(of), AttachPoint::Site(site)) => {
                of(plm.value(site).cast(DType::F32), &plm.sites()[site].shape)
            }
            (Initial::Uniform { bound }, _) => drawn(&mut |s| (2.0 * s.uniform() - 1.0) * bound),
            (Initial::Normal { deviation }, _) => drawn(&mut |s| s.normal() * deviation),
            (Initial::One, _) => Tensor::ones([w.len()], plm.device()),
            _ => Tensor::zeros([w.len()], plm.device()),
        }
    });
    Tensor::cat(parts.collect(), 0)
}

/// The constants of all deltas.
fn constants(plm: &Plm, deltas: &[Attached], seed: u64) -> Vec<Vec<DeltaConstant>> {
    let mut stream = Stream::new("init factors", seed);
    let constants = deltas.iter().map(|attached| {
        let frozen = || {
            let site = attached.at.site()?;
            Some(plm.value(site).cast(DType::F32))
        };
        let mut source = ConstantSource {
            stream: &mut stream,
            frozen: &frozen,
            device: plm.device(),
        };
        let target = attached.at.target(plm.architecture());
        attached.delta.constants(target, &mut source)
    });
    constants.collect()
}

fn floats(device: &Device, values: Vec<f32>) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), (device, DType::F32))
}

/// Names count without what may stand before them in a checkpoint.
fn positions_hash(
    deltas: &[Attached],
    weights: &[Weight],
    architecture: &ModelArchitecture,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut any = false;
    for attached in deltas {
        let positions = attached.delta.positions();
        if positions.iter().all(|positions| positions.is_empty()) {
            continue;
        }
        any = true;
        let name = &weights[attached.weights.start].name;
        hasher.update(architecture.bare(name).as_bytes());
        for position in positions.into_iter().flatten() {
            hasher.update(&position.to_le_bytes());
        }
    }
    if any {
        hasher.finalize().to_hex()[..16].to_string()
    } else {
        String::new()
    }
}
