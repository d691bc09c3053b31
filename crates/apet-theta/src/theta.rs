//! theta itself: one flat vector and its layout.

use std::collections::HashMap;

use apet_plm::{INPUT, InsertionPoint, Kind, ModelArchitecture, Plm, Site};
use apet_record::{Objective, RunSpec, SpecError, Stream, ThetaInfo};
use burn::{
    Tensor,
    tensor::{DType, Device, Gradients, TensorData},
};

use safetensors::tensor::TensorView;

use crate::{
    apet::Placed,
    file::FileError,
    method::{self, Ground, Recipe},
    tap::Tuned,
    weight::{AttachPoint, Initial, Structure, Weight},
};

/// What theta consists of, before it has values: enough to count and to plan.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Every weight, in the order of the flat vector; the head comes last.
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
    /// Frozen factors A of low-rank deltas of which only scalars are tuned, by weight.
    fixed: HashMap<usize, Fixed>,
}

/// A frozen factor, on the host and on the device.
#[derive(Clone, Debug)]
struct Fixed {
    values: Vec<f32>,
    tensor: Tensor<2>,
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

    /// The same over the sites that are `used`, with a head for so many `classes` or none:
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
        let ground = Ground {
            architecture,
            site,
            place,
            placement: spec.seeds.placement,
            chosen,
            device,
        };
        let mut recipe = method::recipe(&spec.method, &ground)?;
        if let Some(classes) = classes {
            recipe.head(classes, architecture.config.hidden());
        }
        Ok(Self::from_recipe(spec.method.name(), recipe, architecture))
    }

    /// Counts what a recipe lists.
    pub(crate) fn from_recipe(
        method: &str,
        recipe: Recipe,
        architecture: &ModelArchitecture,
    ) -> Self {
        let weights = recipe.weights;
        let count = |head: bool| -> u64 {
            let counted = weights.iter().filter(|w| w.is_head() == head);
            counted.map(|w| w.len() as u64).sum()
        };
        let info = ThetaInfo {
            method: method.into(),
            requested_parameters: recipe.requested_parameters,
            trainable_parameters: count(false),
            head: count(true),
            weights: weights.iter().filter(|w| !w.is_head()).count(),
            candidate_parameters: recipe.pool,
            positions_hash: positions_hash(&weights, architecture),
            note: recipe.note,
            extra: Default::default(),
        };
        Self { weights, info }
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
    /// counts as the block behind it.
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
        let fixed = fixed_factors(plm.device(), &layout.weights, seed);
        Self {
            layout,
            values,
            init: seed,
            fixed,
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
        let of = |is: fn(&Structure) -> bool| {
            let weight = self.weights().iter().find(|w| is(&w.structure))?;
            Some(values[weight.offset..weight.offset + weight.len()].to_vec())
        };
        let weight = of(|structure| matches!(structure, Structure::HeadWeight))?;
        let bias = of(|structure| matches!(structure, Structure::HeadBias))?;
        Some((bias.len(), weight, bias))
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

    /// The tap that carries `leaves` into a model's forward pass.
    pub fn tap<'a>(&'a self, leaves: &'a Leaves) -> Tuned<'a> {
        Tuned::new(self, leaves)
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

    /// The frozen factor A of a weight, where it has one.
    pub(crate) fn fixed(&self, weight: usize) -> Option<&Tensor<2>> {
        self.fixed.get(&weight).map(|fixed| &fixed.tensor)
    }

    /// A and B in full of a weight that tunes scalars of them, with its `values`: row-major.
    pub(crate) fn factors(&self, weight: usize, values: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
        let Structure::LowRankScalars { a, b, index, .. } = &self.weights()[weight].structure
        else {
            return None;
        };
        let (of_a, of_b) = values.split_at(a.len());
        let mut whole_a = self.fixed.get(&weight)?.values.clone();
        for (&at, value) in a.iter().zip(of_a) {
            whole_a[at as usize] += value;
        }
        let mut whole_b = vec![0.0; index[1].dims().rows * index[1].dims().cols];
        for (&at, value) in b.iter().zip(of_b) {
            whole_b[at as usize] = *value;
        }
        Some((whole_a, whole_b))
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
            (Initial::Frozen, AttachPoint::Site(site)) => plm.value(site).cast(DType::F32),
            (Initial::Uniform { bound }, _) => drawn(&mut |s| (2.0 * s.uniform() - 1.0) * bound),
            (Initial::Normal { deviation }, _) => drawn(&mut |s| s.normal() * deviation),
            (Initial::One, _) => Tensor::ones([w.len()], plm.device()),
            _ => Tensor::zeros([w.len()], plm.device()),
        }
    });
    Tensor::cat(parts.collect(), 0)
}

/// The factors A that are not tuned themselves, drawn as LoRA's.
fn fixed_factors(device: &Device, weights: &[Weight], seed: u64) -> HashMap<usize, Fixed> {
    let mut stream = Stream::new("init factors", seed);
    let factor = |(number, weight): (usize, &Weight)| {
        let Structure::LowRankScalars { index, .. } = &weight.structure else {
            return None;
        };
        let (rank, inputs) = (index[0].dims().rows, index[0].dims().cols);
        let bound = (inputs as f64).powf(-0.5);
        let draw = |_| ((2.0 * stream.uniform() - 1.0) * bound) as f32;
        let values: Vec<f32> = (0..rank * inputs).map(draw).collect();
        let tensor = floats(device, values.clone()).reshape([rank, inputs]);
        Some((number, Fixed { values, tensor }))
    };
    weights.iter().enumerate().filter_map(factor).collect()
}

fn floats(device: &Device, values: Vec<f32>) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), (device, DType::F32))
}

/// Names count without what may stand before them in a checkpoint.
fn positions_hash(weights: &[Weight], architecture: &ModelArchitecture) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut any = false;
    for weight in weights {
        let places = weight.structure.places();
        if places.iter().all(|places| places.is_empty()) {
            continue;
        }
        any = true;
        hasher.update(architecture.bare(&weight.name).as_bytes());
        for position in places.into_iter().flatten() {
            hasher.update(&position.to_le_bytes());
        }
    }
    if any {
        hasher.finalize().to_hex()[..16].to_string()
    } else {
        String::new()
    }
}
