//! theta = {W_1, ..., W_L}: the tunable parameters of a run (paper, section 2), attached by
//! ADD, CONCAT and PLUG, any number of them in arbitrary positions.
//!
//! All of them are ONE flat vector of f32 with a layout that says which part stands
//! where; so clipping, the optimizer and checkpoints never ask what method it is.
//! A method adds deltas at points of a model ([`Delta`]), each with its tensors ([`Weight`]);
//! [`DeltaHooks`] carry them into a model's forward pass.

mod budget;
mod choose;
mod delta;
mod delta_hooks;
mod deltas;
mod describe;
mod error;
mod file;
mod hooks;
mod layout_builder;
mod merge;
mod merged;
mod peft;
mod pool;
mod selectors;
mod theta;
mod weight;

pub use budget::{closed_form, count};
pub use choose::Choice;
pub use delta::{
    Attached, Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues,
    Entry, Merge, Positions, TensorSpec,
};
pub use delta_hooks::DeltaHooks;
pub use describe::{Described, Description, Grid, PositionMap};
pub use error::FileError;
pub use hooks::{LayerHook, PointHooks, ProductHook, StateHook};
pub use layout_builder::{BuildContext, BuildDeltas, LayoutBuilder};
pub use merged::Merged;
pub use peft::{
    config::Config as PeftConfig,
    format::PeftFormat,
    module::Module as PeftModule,
    piece::Piece,
    pieces::{Data, Pieces, Written},
    reader::{Found, Kept, Numbers, Reader},
    write::PeftAdapter,
};
pub use pool::{Placed, Pool};
pub use theta::{ALL, Layout, Leaves, Partial, Theta, Used};
pub use weight::{AttachPoint, Initial, Operation, Target, Weight};
