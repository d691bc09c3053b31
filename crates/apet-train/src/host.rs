//! The services that a run needs from its host.

use apet_record::Line;

use crate::{GradientWorkers, StepTimings};

/// Whether the run continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Take the next step.
    Go,
    /// Stop: the user's request.
    Stop,
}

/// The host of a run: a terminal, a tab, a test.
///
/// Errors are one sentence for the user; the run ends with it.
#[expect(
    async_fn_in_trait,
    reason = "a run stays on one thread or event loop: cubecl orders GPU work by thread"
)]
pub trait Host: GradientWorkers {
    /// Milliseconds since any fixed moment.
    fn now(&self) -> f64;

    /// Appends a line to the run's record.
    ///
    /// # Errors
    /// If it cannot be written (disk full).
    fn line(&mut self, line: &Line) -> Result<(), String>;

    /// Saves a checkpoint, which replaces the last one.
    ///
    /// # Errors
    /// If it cannot be written; the last one must then still exist.
    fn checkpoint(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// The peak memory in bytes, including weights, if known.
    fn peak_bytes(&self) -> Option<u64> {
        None
    }

    /// A clock for [`Host::timings`], in milliseconds. The default never advances.
    fn clock(&self) -> fn() -> f64 {
        || 0.0
    }

    /// Receives the wall time, by phase, of the steps since the last call.
    fn timings(&mut self, _spent: StepTimings) {}

    /// Receives a status message, which replaces the previous one.
    fn progress(&mut self, _what: &str) {}

    /// Called before every step: yields the thread, and waits while paused.
    ///
    /// # Errors
    /// If the device is lost; the run can resume from its last checkpoint on another.
    async fn turn(&mut self) -> Result<Control, String>;
}
