//! What defines a run (RunSpec), its results (RunRecord), and its random
//! numbers (Stream). No tensors, no files, no clock: this crate is the
//! same in a tab, on a server and in the results viewer.

mod budget;
mod canonical;
mod foreign;
mod header;
mod method;
mod methods;
mod metric;
mod pool;
mod record;
#[cfg(feature = "schema")]
pub mod schema;
mod select;
mod spec;
mod start;
mod stream;

pub use budget::{Baseline, Budget};
pub use canonical::{canonical_json, content_id};
pub use header::{DeviceInfo, Header, ModelInfo, SoftwareInfo, TaskInfo, ThetaInfo};
pub use method::{MethodField, MethodInfo, MethodSpec, Values};
pub use methods::Head as HeadOnly;
pub use methods::*;
pub use metric::{Metric, Words};
pub use pool::{Layers, Module, Part, Pool};
pub use record::{
    Eval, Landscape, Line, Note, RECORD_VERSION, RecordError, RunRecord, Status, Step, Summary,
    record_name,
};
pub use select::{Select, Unit};
pub use spec::{
    Dtype, Group, Head, Objective, Optimizer, Pooling, RunSpec, Schedule, Seeds, SpecError,
    TaskSpec, Train,
};
pub use start::Start;
pub use stream::Stream;

/// The largest seed: 2^53 - 1, so that a seed survives JavaScript's numbers.
pub const MAX_SEED: u64 = (1 << 53) - 1;
