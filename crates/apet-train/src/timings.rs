//! Wall time of a training step by phase.

use std::cell::Cell;

use serde::Serialize;

/// Milliseconds of one or more steps by phase. A GPU runs asynchronously: the first three phases only enqueue its
/// work, and the time that the work takes appears in `read_back`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepTimings {
    /// Forward pass, including building the batch.
    pub forward: f64,
    /// Backward pass to theta's gradient.
    pub backward: f64,
    /// Clipping and AdamW.
    pub update: f64,
    /// Reading losses and norms back, and theta's values for other workers.
    pub read_back: f64,
    /// Waiting for other workers.
    pub helpers: f64,
}

/// The phase that the time since the last lap belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepPhase {
    /// Time between steps, which is not counted.
    Other,
    Forward,
    Backward,
    Update,
    ReadBack,
    Workers,
}

/// Adds up the time of each phase.
#[derive(Clone, Debug)]
pub(crate) struct Stopwatch {
    /// Milliseconds since any fixed point in time.
    clock: fn() -> f64,
    last: Cell<f64>,
    timings: Cell<StepTimings>,
}

impl Default for Stopwatch {
    /// A stopwatch whose clock never advances.
    fn default() -> Self {
        Self::new(|| 0.0)
    }
}

impl Stopwatch {
    pub(crate) fn new(clock: fn() -> f64) -> Self {
        Self {
            clock,
            last: Cell::new(0.0),
            timings: Cell::default(),
        }
    }

    /// Adds the time since the last call to `phase`.
    pub(crate) fn lap(&self, phase: StepPhase) {
        let now = (self.clock)();
        let took = now - self.last.replace(now);
        let mut timings = self.timings.get();
        match phase {
            StepPhase::Other => return,
            StepPhase::Forward => timings.forward += took,
            StepPhase::Backward => timings.backward += took,
            StepPhase::Update => timings.update += took,
            StepPhase::ReadBack => timings.read_back += took,
            StepPhase::Workers => timings.helpers += took,
        }
        self.timings.set(timings);
    }

    /// The timings since the last call.
    pub(crate) fn take(&self) -> StepTimings {
        self.timings.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_counts_for_its_phase() {
        thread_local!(static NOW: Cell<f64> = const { Cell::new(5.0) });
        let later = |ms: f64| NOW.with(|now| now.set(now.get() + ms));
        let stopwatch = Stopwatch::new(|| NOW.with(Cell::get));
        stopwatch.lap(StepPhase::Other);
        later(2.0);
        stopwatch.lap(StepPhase::Forward);
        later(3.0);
        stopwatch.lap(StepPhase::Backward);
        later(10.0);
        stopwatch.lap(StepPhase::Other);
        later(1.0);
        stopwatch.lap(StepPhase::Forward);
        let spent = stopwatch.take();
        assert_eq!(
            (spent.forward, spent.backward, spent.update),
            (3.0, 3.0, 0.0)
        );
        assert_eq!(stopwatch.take(), StepTimings::default());
    }
}
