//! Adapters of Hugging Face peft: `adapter_config.json` and `adapter_model.safetensors`
//! become theta, and theta becomes them. What one side cannot hold fails with the
//! reason and is never dropped.
//!
//! | peft's type | theta's weights | read | written |
//! |---|---|---|---|
//! | LORA | low-rank pairs, scalars of their factors | yes | yes |
//! | PROMPT_TUNING | virtual tokens | yes | yes |
//! | IA3 | scales of linear layers' outputs and inputs | yes | yes |
//! | LN_TUNING | whole scales and biases of norms | yes | yes |
//! | SHIRA | scalars of linear layers' weights | yes | yes |
//! | SUPERTUNING | the same, and low-rank pairs | yes | no |
//!
//! A layer that a checkpoint keeps fused (BLOOM's query_key_value) is one module there and
//! several sites here: low-rank pairs of its parts are written as one of the sum of their
//! ranks, with blocks of 0, and read back as pairs.

pub(crate) mod config;
pub(crate) mod format;
pub(crate) mod module;
pub(crate) mod piece;
pub(crate) mod pieces;
mod read;
pub(crate) mod reader;
pub(crate) mod write;
