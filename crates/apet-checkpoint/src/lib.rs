//! A model's files, as Hugging Face and llama.cpp have them: `config.json` of each family,
//! weights in safetensors or GGUF, `tokenizer.json`. No tensors: callers read weights piece by
//! piece.
//!
//! All readers are fuzzed (`tests/fuzz`): a damaged file fails with a clear error, without a
//! panic, and without allocating memory for sizes that the file only claims.

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
