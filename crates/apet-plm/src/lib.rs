//! Frozen pretrained language models (PLMs).
//!
//! A model is read from a Hugging Face directory, runs on any burn device, and calls a
//! [`Tap`] at each of its sites. It knows nothing of tuning methods: what a tap does there
//! is none of its business (design decision 2).
//!
//! A family is one file: `bert.rs`, `mpnet.rs`, `bloom.rs`, `llama.rs`, `t5.rs`.

mod attention;
mod batch;
mod bert;
mod bloom;
mod config;
mod fit;
mod gguf;
mod header;
mod language;
mod llama;
mod loader;
mod model;
mod mpnet;
mod source;
mod t5;
mod tap;
mod tokenizer;

pub use attention::Cache;
pub use batch::{Batch, Padding};
pub use fit::Room;
pub use gguf::Gguf;
pub use language::{Prompted, TargetLogits};
pub use model::{Kind, Plm, PlmError, PlmFiles};
pub use source::{Number, ReadAt, Safetensors, TensorInfo, Weights, shards_of_index};
pub use tap::{Frozen, Linear, Norm, Param, Rows, Site, SiteId, Table, Tap};
pub use tokenizer::{Encoded, Tokenizer};
