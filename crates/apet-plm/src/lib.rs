//! Frozen pretrained language models (PLMs).
//!
//! A model is read from a Hugging Face directory, runs on any burn device, and calls a
//! [`LayerHooks`] at each of its sites. It knows nothing of tuning methods
//! (design decision 2).
//!
//! A family is one file in `families/`, and one of the same name in `apet-checkpoint`.

mod activation;
mod architecture;
mod attention;
mod batch;
mod blocks;
mod families;
mod family;
mod footprint;
mod hooks;
mod language;
mod loader;
mod memory_limits;
mod model;
mod pass;
mod random;
mod rotary;

pub use apet_checkpoint::{
    Config, Dtype, Encoded, FAMILIES, FamilyInfo, Gguf, Kind, PlmError, ReadAt, Safetensors,
    TensorInfo, Tokenizer, TokenizerKind, Weights, floats, shards_of_index,
};
pub use architecture::ModelArchitecture;
pub use attention::Cache;
pub use batch::{Batch, Padding};
pub use footprint::{Footprint, Input, Tokens};
pub use hooks::{
    Frozen, INPUT, InsertionPoint, InsertionPointId, LayerHooks, Linear, Norm, Param, Rows, Site,
    SiteId, Table,
};
pub use language::{Prompted, TargetLogits, TargetPass};
pub use memory_limits::MemoryLimits;
pub use model::{Plm, PlmFiles};
pub use pass::{ForwardState, Pass};
pub use random::Random;
