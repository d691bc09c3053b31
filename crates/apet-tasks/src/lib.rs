//! Tasks: the columns of texts and answers, the splits and how missing ones are drawn, prompts and
//! verbalizers, guess lines, and metrics. No tensors, no tokens.
//!
//! [`load`] is the same natively and in the browser; it takes bytes and never
//! opens a file. Native only: `find_splits`, Parquet and Arrow.

mod def;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod find;
mod labels;
mod load;
pub mod metrics;
mod read;
mod sentences;
mod task;

pub use def::{TASKS, TaskDef, builtin};
pub use error::{RowLocation, TaskError};
#[cfg(not(target_arch = "wasm32"))]
pub use find::{SplitPaths, find_splits};
pub use load::{SplitFiles, load, target_length};
pub use metrics::accuracy;
pub use read::{Format, SplitFile};
pub use sentences::sentences;
pub use task::{Answer, Example, Task};
