//! A model's files, as Hugging Face and llama.cpp have them: `config.json` of each family,
//! weights in safetensors or GGUF, `tokenizer.json`. No tensors: weights are read piece by
//! piece by whoever wants them.
//!
//! Everything here reads what others wrote, so everything here is fuzzed (`tests/fuzz`):
//! damaged files are refused in one sentence, without a panic and without taking memory
//! for sizes that the file only claims.

pub mod config;
mod error;
mod gguf;
mod header;
mod source;
mod tokenizer;

pub use apet_record::Dtype;
pub use config::Config;
pub use error::PlmError;
pub use gguf::Gguf;
pub use source::{ReadAt, Safetensors, TensorInfo, Weights, floats, shards_of_index};
pub use tokenizer::{Encoded, Tokenizer};
