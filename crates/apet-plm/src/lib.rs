//! Frozen pretrained language models (PLMs).
//!
//! A model is read from a Hugging Face directory's three files, runs on any burn
//! device, and calls a [`Tap`] at each of its sites. It knows nothing of tuning
//! methods: what a tap does there is none of its business (design decision 2).

mod batch;
mod bert;
mod checkpoint;
mod model;
mod tap;
mod tokenizer;

pub use batch::Batch;
pub use checkpoint::{Checkpoint, Loader};
pub use model::{Plm, PlmError, PlmFiles};
pub use tap::{Frozen, Linear, Norm, Param, Site, SiteId, Table, Tap};
pub use tokenizer::{Encoded, Tokenizer};
