//! theta = {W_1, ..., W_L}: the tunable parameters of a run (paper, section 2).
//!
//! All of them are ONE flat vector of f32 with a layout that says which part stands
//! where; so clipping, the optimizer and checkpoints never ask what method it is.
//! A method is a recipe that lists weights ([`Weight`]); a [`Tuned`] tap carries
//! them into a model's forward pass.

mod file;
mod method;
mod place;
mod tap;
mod theta;

pub use file::FileError;
pub use place::{Pool, positions};
pub use tap::Tuned;
pub use theta::{Layout, Leaves, Structure, Theta, Weight};
