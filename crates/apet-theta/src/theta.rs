//! theta itself: one flat vector and its layout.

use apet_kernels::SparseIndex;
use apet_plm::{Kind, Outline, Plm, Site, SiteId};
use apet_record::{Objective, RunSpec, SpecError, Stream, ThetaInfo};
use burn::{
    Tensor,
    tensor::{DType, Device, Gradients, TensorData},
};

use crate::{method, tap::Tuned};

/// How a weight acts.
#[derive(Clone, Debug)]
pub enum Structure {
    /// Values at drawn places of a site, added to the frozen tensor.
    Sparse {
        /// Row-major places, ascending, in the site's own shape.
        positions: Vec<u64>,
        /// The same on the device, in the shape the operation wants.
        index: Box<SparseIndex>,
    },
    /// A copy of a site's tensor, used in its place.
    Owned,
    /// A of the low-rank delta (scale) B A, `[rank, in]`.
    LowRankA,
    /// B of the low-rank delta, `[out, rank]`.
    LowRankB {
        /// alpha / rank.
        scale: f64,
    },
    /// The classification head's weight, `[classes, hidden]`.
    HeadWeight,
    /// The classification head's bias, `[classes]`.
    HeadBias,
}

/// One tunable weight W_i.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Name in files: the site's name with a suffix for the structure, or `head.weight`, `head.bias`.
    pub name: String,
    /// Where it acts; none for the head.
    pub site: Option<SiteId>,
    /// How it acts.
    pub structure: Structure,
    /// Shape; a sparse weight is `[values]`.
    pub shape: Vec<usize>,
    /// Where its values begin in the flat vector.
    pub offset: usize,
}

impl Weight {
    /// Number of scalars.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it belongs to the classification head, which is counted apart.
    pub fn is_head(&self) -> bool {
        matches!(self.structure, Structure::HeadWeight | Structure::HeadBias)
    }
}

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
}

/// The weights as tensors of a forward pass, in the order of [`Theta::weights`].
#[derive(Clone, Debug)]
pub struct Leaves(pub(crate) Vec<Tensor<1>>);

/// Standard deviation of the head's initial weight, as in transformers.
const HEAD_DEVIATION: f64 = 0.02;

impl Layout {
    /// What a run with `classes` labels tunes on a model: weights and places, kept on `device`.
    ///
    /// # Errors
    /// Names the field of the spec that does not fit the model.
    pub fn new(
        outline: &Outline,
        spec: &RunSpec,
        classes: usize,
        device: &Device,
    ) -> Result<Self, SpecError> {
        let (name, pooling) = (&outline.name, spec.head.pooling);
        let refuse = |field: &str, problem: String| {
            Err(SpecError {
                field: field.into(),
                problem,
            })
        };
        match spec.objective {
            Objective::ClassHead if !outline.can_pool(pooling) => refuse(
                "head.pooling",
                format!(
                    "found \"{}\", {name} has no such state; use \"mean\"",
                    pooling.name()
                ),
            ),
            Objective::ClassHead => Self::over(outline, spec, Some(classes), device, |site| {
                outline.in_classification(site, pooling)
            }),
            Objective::LabelWords if outline.kind() == Kind::Encoder => refuse(
                "objective",
                format!(
                    "found \"label_words\", {name} is an encoder and writes none; use \"class_head\""
                ),
            ),
            Objective::LabelWords => Self::over(outline, spec, None, device, |_| true),
        }
    }

    /// The same over the sites that are `used`, with a head for so many `classes` or none:
    /// for another forward pass.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn over(
        outline: &Outline,
        spec: &RunSpec,
        classes: Option<usize>,
        device: &Device,
        used: impl Fn(&Site) -> bool,
    ) -> Result<Self, SpecError> {
        let mut recipe = method::recipe(&outline.sites, spec, &used, device)?;
        if let Some(classes) = classes {
            let shape = vec![classes, outline.config.hidden()];
            recipe.push("head.weight", None, Structure::HeadWeight, shape);
            recipe.push("head.bias", None, Structure::HeadBias, vec![classes]);
        }
        let weights = recipe.weights;
        let count = |head: bool| -> u64 {
            let counted = weights.iter().filter(|w| w.is_head() == head);
            counted.map(|w| w.len() as u64).sum()
        };
        let info = ThetaInfo {
            method: spec.method.name().into(),
            nominal: recipe.nominal.unwrap_or(count(false)),
            realised: count(false),
            head: count(true),
            weights: weights.iter().filter(|w| !w.is_head()).count(),
            pool: recipe.pool,
            positions_hash: positions_hash(&weights),
            extra: Default::default(),
        };
        Ok(Self { weights, info })
    }

    /// Scalars in all, those of the head too.
    pub fn len(&self) -> usize {
        self.weights.iter().map(Weight::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Theta {
    /// Makes theta for a run with `classes` labels: its layout, its places and its initial values.
    ///
    /// # Errors
    /// Names the field of the spec that does not fit the model.
    pub fn new(plm: &Plm, spec: &RunSpec, classes: usize) -> Result<Self, SpecError> {
        let layout = Layout::new(plm.outline(), spec, classes, plm.device())?;
        Ok(Self::of(plm, spec, layout))
    }

    /// Gives a layout its initial values.
    pub fn of(plm: &Plm, spec: &RunSpec, layout: Layout) -> Self {
        let values = initial_values(plm, &layout.weights, spec.seeds.init);
        Self { layout, values }
    }

    /// Every weight, in the order of the flat vector; the head comes last.
    pub fn weights(&self) -> &[Weight] {
        &self.layout.weights
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
        let device = self.values.device();
        let parts = leaves
            .0
            .iter()
            .zip(&self.layout.weights)
            .map(|(leaf, weight)| {
                leaf.grad_remove(gradients)
                    .unwrap_or_else(|| Tensor::zeros([weight.len()], &device))
            });
        Tensor::cat(parts.collect(), 0)
    }

    fn parts<'a>(&'a self, flat: &'a Tensor<1>) -> impl Iterator<Item = Tensor<1>> + 'a {
        let part = |w: &Weight| flat.clone().slice(w.offset..w.offset + w.len());
        self.layout.weights.iter().map(part)
    }
}

fn initial_values(plm: &Plm, weights: &[Weight], seed: u64) -> Tensor<1> {
    let mut low_rank = Stream::new("init", seed);
    let mut head = Stream::new("init head", seed);
    let floats = |values: Vec<f32>| {
        let len = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [len]), (plm.device(), DType::F32))
    };
    let parts = weights.iter().map(|w| match (&w.structure, w.site) {
        (Structure::Owned, Some(site)) => plm.value(site).cast(DType::F32),
        (Structure::LowRankA, _) => {
            // Kaiming-uniform with a = sqrt(5): U(-1/sqrt(in), 1/sqrt(in)).
            let bound = (w.shape[1] as f64).powf(-0.5);
            let draw = || ((2.0 * low_rank.uniform() - 1.0) * bound) as f32;
            floats(std::iter::repeat_with(draw).take(w.len()).collect())
        }
        (Structure::HeadWeight, _) => {
            let draw = || (head.normal() * HEAD_DEVIATION) as f32;
            floats(std::iter::repeat_with(draw).take(w.len()).collect())
        }
        _ => floats(vec![0.0; w.len()]),
    });
    Tensor::cat(parts.collect(), 0)
}

fn positions_hash(weights: &[Weight]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut any = false;
    for weight in weights {
        if let Structure::Sparse { positions, .. } = &weight.structure {
            any = true;
            hasher.update(weight.name.as_bytes());
            for position in positions {
                hasher.update(&position.to_le_bytes());
            }
        }
    }
    if any {
        hasher.finalize().to_hex()[..16].to_string()
    } else {
        String::new()
    }
}
