//! W_i: one tunable weight, where it is attached and how it acts.

use apet_kernels::SparseIndex;
use apet_plm::{InsertionPointId, ModelArchitecture, SiteId};

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
    /// Scalars inside the factors of a low-rank delta, as changes of their initial values:
    /// A is drawn and kept, B is 0. The values of A come first.
    LowRankScalars {
        /// Rank of the factors.
        rank: usize,
        /// alpha / rank.
        scale: f64,
        /// Places in A, `[rank, in]`.
        a: Vec<u64>,
        /// Places in B, `[out, rank]`.
        b: Vec<u64>,
        /// The same on the device.
        index: Box<[SparseIndex; 2]>,
    },
    /// A bias where a linear layer has none, `[out]`.
    Bias,
    /// Multiplies a linear layer's output, `[out]`.
    ScaleOutput,
    /// Multiplies a linear layer's input, `[in]`.
    ScaleInput,
    /// Virtual tokens, `[tokens, hidden]`.
    Prompt,
    /// A tensor of an adapter.
    Adapter(AdapterPart),
    /// The classification head's weight, `[classes, hidden]`.
    HeadWeight,
    /// The classification head's bias, `[classes]`.
    HeadBias,
}

/// A tensor of an adapter h + W_up gelu(W_down h + b_down) + b_up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterPart {
    /// W_down, `[bottleneck, width]`.
    DownWeight,
    /// b_down, `[bottleneck]`.
    DownBias,
    /// W_up, `[width, bottleneck]`.
    UpWeight,
    /// b_up, `[width]`.
    UpBias,
}

impl AdapterPart {
    /// All of them, in the order of theta.
    pub(crate) const ALL: [Self; 4] = [
        Self::DownWeight,
        Self::DownBias,
        Self::UpWeight,
        Self::UpBias,
    ];

    /// Its name behind the place's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DownWeight => "adapter.down.weight",
            Self::DownBias => "adapter.down.bias",
            Self::UpWeight => "adapter.up.weight",
            Self::UpBias => "adapter.up.bias",
        }
    }

    pub(crate) fn shape(self, bottleneck: usize, width: usize) -> Vec<usize> {
        match self {
            Self::DownWeight => vec![bottleneck, width],
            Self::DownBias => vec![bottleneck],
            Self::UpWeight => vec![width, bottleneck],
            Self::UpBias => vec![width],
        }
    }
}

impl Structure {
    /// How it is attached; the head is part of no operation.
    pub fn operation(&self) -> Option<Operation> {
        match self {
            Self::HeadWeight | Self::HeadBias => None,
            Self::Prompt => Some(Operation::Concat),
            Self::Adapter(_) => Some(Operation::Plug),
            _ => Some(Operation::Add),
        }
    }

    /// Row-major places of what is sparse in it.
    pub fn places(&self) -> [&[u64]; 2] {
        match self {
            Self::Sparse { positions, .. } => [positions, &[]],
            Self::LowRankScalars { a, b, .. } => [a, b],
            _ => [&[], &[]],
        }
    }

    /// A word for it, in files and descriptions.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sparse { .. } => "sparse",
            Self::Owned => "dense",
            Self::LowRankA => "low_rank_a",
            Self::LowRankB { .. } => "low_rank_b",
            Self::LowRankScalars { .. } => "low_rank_scalars",
            Self::Bias => "bias",
            Self::ScaleOutput => "scale_output",
            Self::ScaleInput => "scale_input",
            Self::Prompt => "prompt",
            Self::Adapter(AdapterPart::DownWeight) => "adapter_down_weight",
            Self::Adapter(AdapterPart::DownBias) => "adapter_down_bias",
            Self::Adapter(AdapterPart::UpWeight) => "adapter_up_weight",
            Self::Adapter(AdapterPart::UpBias) => "adapter_up_bias",
            Self::HeadWeight => "head_weight",
            Self::HeadBias => "head_bias",
        }
    }
}

/// Values that a weight starts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// 0: theta starts neutral.
    Zero,
    /// 1.
    One,
    /// The site's frozen values.
    Frozen,
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
    /// How it acts.
    pub structure: Structure,
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
        match self.at {
            AttachPoint::Site(site) => Some(site),
            _ => None,
        }
    }

    /// The block it acts in, if it does in one.
    pub fn layer(&self, architecture: &ModelArchitecture) -> Option<usize> {
        match self.at {
            AttachPoint::Site(site) => architecture.sites[site].layer,
            AttachPoint::InsertionPoint(place) => architecture.insertion_points[place].layer,
            AttachPoint::Head => None,
        }
    }
}
