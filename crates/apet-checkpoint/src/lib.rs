//! A model's files, as Hugging Face and llama.cpp have them: `config.json` of each family,
//! weights in safetensors or GGUF, `tokenizer.json`. No tensors: weights are read piece by
//! piece by whoever wants them.
//!
//! Everything here reads what others wrote, so everything here is fuzzed (`tests/fuzz`):
//! damaged files are refused in one sentence, without a panic and without taking memory
//! for sizes that the file only claims.

mod activation;
mod checks;
pub mod config;
mod error;
pub mod families;
pub mod family;
mod gguf;
mod header;
mod rope;
mod source;
mod tokenizer;

pub use activation::Activation;
pub use apet_record::Dtype;
pub use checks::Checks;
pub use error::PlmError;
pub use families::{Config, FAMILIES};
pub use family::{Family, FamilyInfo, Kind, TokenizerKind};
pub use gguf::Gguf;
pub use rope::Rope;
pub use source::{ReadAt, Safetensors, TensorInfo, Weights, floats, shards_of_index};
pub use tokenizer::{Encoded, Tokenizer};
