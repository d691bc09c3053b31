//! What every delta has. A delta is what theta does at one attach point: a few tensors, and how they act.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use apet_record::Stream;
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};

use crate::{
    hooks::PointHooks,
    peft::piece::Piece,
    weight::{AttachPoint, Initial, Operation, Target, Weight},
};

/// What theta does at one attach point.
pub trait Delta: Debug + Send + Sync {
    /// Facts about all deltas of its kind.
    fn kind(&self) -> &'static DeltaKind;

    /// Its tensors, in the order of theta.
    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec>;

    /// Its trainable parameters, by a closed form.
    fn count(&self, target: Target<'_>) -> u64;

    /// Row-major positions of sparse values, ascending: in the site's tensor, or in two factors.
    fn positions(&self) -> [&[u64]; 2];

    /// Tensors that it needs and that are not trained, in the order of [`DeltaTensors::constants`].
    fn constants(&self, target: Target<'_>, source: &mut ConstantSource<'_>) -> Vec<DeltaConstant>;

    /// Adds what it does in the forward pass to the hooks of its attach point.
    fn hook<'a>(&'a self, tensors: &DeltaTensors<'a>, hooks: &mut PointHooks<'a>);

    /// Changes a tensor as its site, or the bias next to it: row-major, of a width. Called if
    /// [`DeltaKind::merge`] says so.
    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], width: usize);

    /// What theta's file says about it.
    fn entry(&self, target: Target<'_>) -> Entry;

    /// The form in which an adapter of peft holds it, and the tensors there.
    ///
    /// # Errors
    /// Why no adapter of peft can hold it, as the rest of a sentence that begins with its name.
    fn to_peft(&self, target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String>;

    /// Numbers that the gradient keeps for each token, the layer's input not included.
    fn activations(&self, target: Target<'_>) -> usize;

    /// Whether the gradient needs the layer's input.
    fn needs_input(&self) -> bool;

    /// Bytes of indices and constants on the device.
    fn index_bytes(&self, target: Target<'_>) -> u64;

    /// The scalars of its site that it changes one by one.
    fn cells(&self) -> Cells<'_>;
}

/// Reads a delta as a theta file describes it; none if it cannot stand at the target.
pub(crate) type ReadDelta =
    fn(&Entry, Target<'_>, &mut Positions<'_>) -> Result<Option<Arc<dyn Delta>>, String>;

/// Facts about all deltas of a kind.
pub struct DeltaKind {
    /// Its name in theta's file: `low_rank`.
    pub name: &'static str,
    /// How it is attached; the head is part of no operation.
    pub operation: Option<Operation>,
    /// Whether no other delta of such a kind may stand at the same site.
    pub exclusive: bool,
    /// What of the model a merge changes.
    pub merge: Merge,
    /// How it is read from a theta file.
    pub read: ReadDelta,
}

impl Debug for DeltaKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What of a model changes when a delta is merged into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Merge {
    /// The site's tensor is computed anew.
    Replace,
    /// Something is added to the site's tensor.
    Add,
    /// The site's tensor is scaled, with all that was added to it.
    Scale,
    /// The site's tensor is scaled, and the bias of its layer.
    ScaleWithBias,
    /// Nothing: no tensor of the model can hold it.
    Never {
        /// What it is: `virtual tokens`.
        what: &'static str,
        /// The formats that can hold it.
        export: &'static str,
    },
}

/// The scalars of a site that a delta changes one by one.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    /// None: it acts on the site as a whole.
    None,
    /// Every one.
    All,
    /// Those at these row-major positions.
    At(&'a [u64]),
}

/// A tensor of a delta.
#[derive(Clone, Debug)]
pub struct TensorSpec {
    /// Its name in files.
    pub name: String,
    /// What it is to its delta, in descriptions: `low_rank_a`.
    pub part: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its initial values.
    pub initial: Initial,
}

/// What theta's file says about a delta besides its kind and its attach point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Entry {
    /// Scalars, rank, tokens, bottleneck or classes.
    pub size: usize,
    /// Scalars of A, if scalars of factors are trained.
    pub in_a: usize,
    /// Rank, if scalars of factors are trained.
    pub rank: usize,
    /// alpha / rank.
    pub scale: Option<f64>,
}

/// The positions of a theta file, from which each delta takes its own.
pub struct Positions<'a> {
    /// Those that no delta has taken.
    pub rest: &'a [u64],
    /// Where deltas keep them.
    pub device: &'a Device,
}

impl Positions<'_> {
    /// Takes `count` positions in a tensor with this number of scalars.
    ///
    /// # Errors
    /// When there are fewer, or they are not ascending positions of the tensor.
    pub fn take(&mut self, count: usize, scalars: usize) -> Result<Vec<u64>, String> {
        let Some((here, rest)) = self.rest.split_at_checked(count) else {
            return Err("has fewer positions than values".into());
        };
        self.rest = rest;
        let ascend = here.windows(2).all(|w| w[0] < w[1]);
        if !ascend || here.last().is_some_and(|&last| last >= scalars as u64) {
            return Err(format!(
                "has positions that are not ascending below {scalars}"
            ));
        }
        Ok(here.to_vec())
    }
}

/// Where constants come from.
pub struct ConstantSource<'a> {
    /// The stream of factors that are not trained.
    pub stream: &'a mut Stream,
    /// The frozen tensor at the delta's site, flat and in f32.
    pub frozen: &'a dyn Fn() -> Option<Tensor<1>>,
    /// Where they are kept.
    pub device: &'a Device,
}

/// A tensor that a delta needs and that is not trained.
#[derive(Clone, Debug)]
pub struct DeltaConstant {
    /// Its values on the host, row-major; empty if a merge does not need them.
    pub host: Vec<f32>,
    /// The tensor on the device.
    pub tensor: Tensor<2>,
}

impl DeltaConstant {
    /// A matrix with its values.
    pub fn new(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Self {
        let data = TensorData::new(values.clone(), shape);
        Self {
            host: values,
            tensor: Tensor::from_data(data, (device, DType::F32)),
        }
    }
}

/// The tensors of a delta in a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct DeltaTensors<'a> {
    /// The trained ones, flat, in the order of [`Delta::tensors`].
    pub leaves: &'a [Tensor<1>],
    /// Their shapes and names.
    pub weights: &'a [Weight],
    /// The constants.
    pub constants: &'a [DeltaConstant],
}

impl DeltaTensors<'_> {
    /// A trained tensor as a matrix.
    pub fn matrix(&self, number: usize) -> Tensor<2> {
        let shape = &self.weights[number].shape;
        self.leaves[number].clone().reshape([shape[0], shape[1]])
    }
}

/// The values of a delta on the host.
#[derive(Clone, Copy, Debug)]
pub struct DeltaValues<'a> {
    /// All of theta's.
    pub theta: &'a [f32],
    /// The delta's weights.
    pub weights: &'a [Weight],
    /// The constants.
    pub constants: &'a [DeltaConstant],
}

impl<'a> DeltaValues<'a> {
    /// The values of a weight.
    pub fn of(&self, number: usize) -> &'a [f32] {
        let weight = &self.weights[number];
        &self.theta[weight.offset..weight.offset + weight.len()]
    }
}

/// A delta of theta and the point it is attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Where it acts.
    pub at: AttachPoint,
    /// What it does.
    pub delta: Arc<dyn Delta>,
    /// Its weights in [`Layout::weights`](crate::Layout).
    pub weights: Range<usize>,
}
