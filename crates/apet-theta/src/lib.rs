//! theta = {W_1, ..., W_L}: the tunable parameters of a run (paper, section 2), attached by
//! ADD, CONCAT and PLUG, any number of them in arbitrary positions.
//!
//! All of them are ONE flat vector of f32 with a layout that says which part stands
//! where; so clipping, the optimizer and checkpoints never ask what method it is.
//! A method is a recipe that lists weights ([`Weight`]); a [`Tuned`] tap carries
//! them into a model's forward pass.

mod apet;
mod budget;
mod choose;
mod describe;
mod file;
mod merge;
mod merged;
mod method;
mod peft;
mod pool;
mod tap;
mod theta;
mod weight;

pub use apet::Placed;
pub use budget::{closed_form, count};
pub use choose::Choice;
pub use describe::{Described, Description, Grid, PositionMap};
pub use file::FileError;
pub use merged::Merged;
pub use peft::Adapter;
pub use pool::Pool;
pub use tap::Tuned;
pub use theta::{ALL, Layout, Leaves, Partial, Theta, Used};
pub use weight::{AdapterPart, AttachPoint, Initial, Operation, Structure, Weight};
