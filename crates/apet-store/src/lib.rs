//! The store: the directory that holds models, tasks, masks and runs, and everything that fills it
//! without computing: fetching from a hub, wheels or directories, and converting checkpoints.
//! No tensors and no command line.
//!
//! A module depends only on modules of a line above its own:
//!
//! ```text
//! store       the home directory, names, atomic files, hashes
//! mapped, pytorch, manifest, lease, theta, catalogue
//! builtin     models and tasks that the binary brings
//! archive     runs in one zip file
//! weights     a model's directory, and its weights in any format
//! convert     any weights as `model.safetensors`
//! fetch       hub, wheels, directories
//! ```

pub mod archive;
pub mod builtin;
pub mod catalogue;
pub mod convert;
pub mod fetch;
mod lease;
mod manifest;
mod mapped;
mod pytorch;
mod store;
pub mod theta;
pub mod weights;

pub use lease::Lease;
pub use mapped::Mapped;
pub use store::{
    HOME_VARIABLE, MODEL_FILES, Store, TASK_FILES, check_name, copy_hashed, sha256, write_atomic,
};
