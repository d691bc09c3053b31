//! W_i: one tunable weight, where it is attached and how it acts.

use apet_plm::{InsertionPoint, InsertionPointId, ModelArchitecture, Site, SiteId};
use burn::Tensor;

/// How a weight is attached (paper, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// h <- f(h) + W(h), or a frozen tensor with a delta.
    Add,
    /// h <- [W ; h] along the sequence.
    Concat,
    /// h <- h + g_W(h) between two sub-layers.
    Plug,
}

impl Operation {
    /// ADD, CONCAT or PLUG, as the paper writes them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Concat => "CONCAT",
            Self::Plug => "PLUG",
        }
    }
}

/// Where a weight acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttachPoint {
    /// At a tensor of the model, or a part of one.
    Site(SiteId),
    /// Where the model has no tensor.
    InsertionPoint(InsertionPointId),
    /// On pooled states: the classification head, which is counted apart.
    Head,
}

/// What stands at an attach point of a model.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A tensor of the model.
    Site(&'a Site),
    /// An insertion point.
    InsertionPoint(&'a InsertionPoint),
    /// The classification head, on states of this width.
    Head(usize),
}

impl AttachPoint {
    /// What stands there in a model.
    pub fn target(self, architecture: &ModelArchitecture) -> Target<'_> {
        match self {
            Self::Site(site) => Target::Site(&architecture.sites[site]),
            Self::InsertionPoint(point) => {
                Target::InsertionPoint(&architecture.insertion_points[point])
            }
            Self::Head => Target::Head(architecture.config.hidden()),
        }
    }
}

impl AttachPoint {
    /// The site, if it is one.
    pub fn site(self) -> Option<SiteId> {
        match self {
            Self::Site(site) => Some(site),
            Self::InsertionPoint(_) | Self::Head => None,
        }
    }

    /// The block it lies in, if it lies in one.
    pub fn layer(self, architecture: &ModelArchitecture) -> Option<usize> {
        match self {
            Self::Site(site) => architecture.sites[site].layer,
            Self::InsertionPoint(point) => architecture.insertion_points[point].layer,
            Self::Head => None,
        }
    }
}

impl<'a> Target<'a> {
    /// Its name in files.
    pub fn name(self) -> &'a str {
        match self {
            Self::Site(site) => &site.name,
            Self::InsertionPoint(point) => &point.name,
            Self::Head(_) => "head",
        }
    }

    /// The tensor, if it is one.
    pub fn site(self) -> Option<&'a Site> {
        match self {
            Self::Site(site) => Some(site),
            Self::InsertionPoint(_) | Self::Head(_) => None,
        }
    }

    /// The weight of a linear layer, if it is one.
    pub fn linear(self) -> Option<&'a Site> {
        self.site().filter(|site| site.linear_layer().is_some())
    }

    /// Its shape; an insertion point and the head have a width.
    pub fn shape(self) -> Vec<usize> {
        match self {
            Self::Site(site) => site.shape.clone(),
            Self::InsertionPoint(point) => vec![point.width],
            Self::Head(width) => vec![width],
        }
    }

    /// Rows and columns; a vector is one column.
    pub fn matrix(self) -> [usize; 2] {
        match self.shape()[..] {
            [rows, columns] => [rows, columns],
            ref other => [other.iter().product(), 1],
        }
    }

    /// The name of what is added to a linear layer: the layer's name and `suffix`.
    pub fn beside(self, suffix: &str) -> String {
        let layer = self.site().and_then(Site::linear_layer);
        format!("{}.{suffix}", layer.unwrap_or_default())
    }
}

/// Values that a weight starts with.
#[derive(Clone, Copy, Debug)]
pub enum Initial {
    /// 0: theta starts neutral.
    Zero,
    /// 1.
    One,
    /// Computed from the site's frozen values, flat and in f32, and its shape.
    Frozen(fn(Tensor<1>, &[usize]) -> Tensor<1>),
    /// Uniform between -bound and bound.
    Uniform {
        /// Largest magnitude.
        bound: f64,
    },
    /// Normal, around 0.
    Normal {
        /// Standard deviation.
        deviation: f64,
    },
}

/// One tunable weight W_i.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Name in files: the site's or place's name with a suffix for the structure, or
    /// `head.weight`, `head.bias`.
    pub name: String,
    /// Where it acts.
    pub at: AttachPoint,
    /// What it is to its delta, in descriptions: `low_rank_a`.
    pub part: &'static str,
    /// Index of its delta in [`Layout::deltas`](crate::Layout).
    pub delta: usize,
    /// Shape; a sparse weight is `[values]`.
    pub shape: Vec<usize>,
    /// What it starts with.
    pub initial: Initial,
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
        self.at == AttachPoint::Head
    }

    /// The site it acts at, if it does at one.
    pub fn site(&self) -> Option<SiteId> {
        self.at.site()
    }

    /// The block it acts in, if it does in one.
    pub fn layer(&self, architecture: &ModelArchitecture) -> Option<usize> {
        self.at.layer(architecture)
    }
}
