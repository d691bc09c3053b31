//! What a run needs from where it runs.

use apet_record::Line;

use crate::{GradientWorkers, StepTimings};

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The next step may be made.
    Go,
    /// The user wants no more.
    Stop,
}

/// The place a run runs in: a terminal, a tab, a test.
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
    /// When it can not be kept (disk full).
    fn line(&mut self, line: &Line) -> Result<(), String>;

    /// Keeps a checkpoint in the place of the last one.
    ///
    /// # Errors
    /// When it can not be kept; the last one must then still be there.
    fn checkpoint(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// The most bytes that were held at once, weights included, where that is known.
    fn peak_bytes(&self) -> Option<u64> {
        None
    }

    /// A clock for [`Host::timings`], in milliseconds. The default never advances.
    fn clock(&self) -> fn() -> f64 {
        || 0.0
    }

    /// Receives the wall time, by phase, of the steps since the last call.
    fn timings(&mut self, _spent: StepTimings) {}

    /// Says what is being done, for a line that is overwritten.
    fn progress(&mut self, _what: &str) {}

    /// Called before every step: lets others have the thread, waits while paused.
    ///
    /// # Errors
    /// When the device is gone; the run can go on from its last checkpoint on another.
    async fn turn(&mut self) -> Result<Control, String>;
}
