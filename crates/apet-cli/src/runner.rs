//! One run on this machine: devices, models, options, and the loop's host.
//!
//! A module depends only on modules of a line above its own: `device`, `memory`, `signal`; `model`, `theta`,
//! `architecture`, `settings`; `worker_pool`; `terminal`; `execute`.

pub(crate) mod architecture;
pub(crate) mod device;
pub(crate) mod execute;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod settings;
pub(crate) mod signal;
pub(crate) mod terminal;
pub(crate) mod theta;
pub(crate) mod worker_pool;
