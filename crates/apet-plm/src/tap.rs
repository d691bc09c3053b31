//! Sites: the places of a model where something may be added, and the trait that
//! is called there.

use apet_record::Module;
use burn::{Tensor, tensor::Int};

/// A tensor of a model, by its Hugging Face name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Name in the checkpoint: `encoder.layer.0.attention.self.query.weight`.
    pub name: String,
    /// Shape in the checkpoint; a linear weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// Kind of sub-module.
    pub module: Module,
    /// Block, from 0; none outside the blocks.
    pub layer: Option<usize>,
}

impl Site {
    /// Number of scalars.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Number of a site in its model.
pub type SiteId = usize;

/// A frozen tensor and the site it stands at.
#[derive(Clone, Debug)]
pub struct Param<const D: usize> {
    /// Where.
    pub site: SiteId,
    /// The frozen value, shared and never changed.
    pub value: Tensor<D>,
}

/// A linear layer: y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`.
    pub weight: Param<2>,
    /// b, `[out]`.
    pub bias: Option<Param<1>>,
}

/// LayerNorm: y = x̂ · scale + bias.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Scale, `[width]`.
    pub scale: Param<1>,
    /// Bias, `[width]`.
    pub bias: Param<1>,
    /// Added to the variance.
    pub epsilon: f64,
}

/// A table of rows looked up by id.
#[derive(Clone, Debug)]
pub struct Table {
    /// Rows, `[rows, width]`.
    pub rows: Param<2>,
}

/// What happens at a model's sites. Every method has the frozen model's own
/// behaviour as its body, so a tap overrides only what it changes.
pub trait Tap {
    /// A linear layer: x `[tokens, in]` to `[tokens, out]`.
    fn linear(&self, layer: &Linear, x: Tensor<2>) -> Tensor<2> {
        let y = x.matmul(layer.weight.value.clone().transpose());
        match &layer.bias {
            Some(bias) => y + bias.value.clone().unsqueeze(),
            None => y,
        }
    }

    /// LayerNorm: x `[tokens, width]`, shape kept.
    fn norm(&self, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        apet_kernels::normalize(x, norm.epsilon) * norm.scale.value.clone().unsqueeze()
            + norm.bias.value.clone().unsqueeze()
    }

    /// Looks up rows: ids `[tokens]` to `[tokens, width]`.
    fn embed(&self, table: &Table, ids: Tensor<1, Int>) -> Tensor<2> {
        table.rows.value.clone().select(0, ids)
    }
}

/// The tap that changes nothing: plain inference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frozen;

impl Tap for Frozen {}
