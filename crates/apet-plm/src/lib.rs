//! Frozen pretrained language models (PLMs).
//!
//! A model is read from a Hugging Face directory, runs on any burn device, and calls a
//! [`Tap`] at each of its sites. It knows nothing of tuning methods: what a tap does there
//! is none of its business (design decision 2).
//!
//! A family is one file: `bert.rs`, `mpnet.rs`, `bloom.rs`, `llama.rs`, `t5.rs`.

mod activation;
mod attention;
mod batch;
mod bert;
mod bloom;
mod fit;
mod footprint;
mod language;
mod llama;
mod loader;
mod model;
mod mpnet;
mod outline;
mod pass;
mod random;
mod t5;
mod tap;

pub use apet_checkpoint::{
    Config, Dtype, Encoded, Gguf, PlmError, ReadAt, Safetensors, TensorInfo, Tokenizer, Weights,
    floats, shards_of_index,
};
pub use attention::Cache;
pub use batch::{Batch, Padding};
pub use fit::Room;
pub use footprint::{Footprint, Input, Tokens};
pub use language::{Asked, Prompted, TargetLogits};
pub use model::{Plm, PlmFiles};
pub use outline::{Kind, Outline};
pub use pass::{Flow, Pass};
pub use random::Random;
pub use tap::{Frozen, INPUT, Linear, Norm, Param, Place, PlaceId, Rows, Site, SiteId, Table, Tap};
