//! Studies: planned grids of runs that any number of workers make, and their records.
//!
//! A module depends only on modules of a line above its own: `study_dir`, `curves`, `parquet`; `records`; `tensorboard`,
//! `trackio`, `report`, `cost`; `worker`.

pub(crate) mod cost;
mod curves;
pub(crate) mod parquet;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod study_dir;
pub(crate) mod tensorboard;
pub(crate) mod trackio;
pub(crate) mod worker;
