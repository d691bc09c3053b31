//! One file for each subcommand: its options, and what it does with them.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod collect;
pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod forward;
pub(crate) mod gc;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod predict;
pub(crate) mod pretrain;
pub(crate) mod report;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod submit;
