//! Studies: planned grids of runs that any number of workers make, and their records.
//!
//! A module depends only on modules of a line above its own: `folder`, `curves`, `parquet`; `records`; `tensorboard`,
//! `trackio`, `report`, `cost`; `work`.

pub(crate) mod cost;
mod curves;
pub(crate) mod folder;
pub(crate) mod parquet;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod tensorboard;
pub(crate) mod trackio;
pub(crate) mod work;
