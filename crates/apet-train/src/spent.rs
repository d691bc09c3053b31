//! Where a step's time goes.

use std::cell::Cell;

use serde::Serialize;

/// Milliseconds of steps by what was done in them. A device that works on its own is only given its work in the
/// first three; what it takes shows where something is read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spent {
    /// The forward pass, its batch included.
    pub forward: f64,
    /// Theta's gradient.
    pub backward: f64,
    /// Clipping and AdamW.
    pub update: f64,
    /// Reading losses and norms, and theta for helpers.
    pub read_back: f64,
    /// Waiting for helpers.
    pub helpers: f64,
}

/// What the time since the last moment was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Something else.
    Other,
    Forward,
    Backward,
    Update,
    ReadBack,
    Helpers,
}

/// Adds up what steps spend.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// Milliseconds since any fixed moment.
    clock: fn() -> f64,
    last: Cell<f64>,
    spent: Cell<Spent>,
}

impl Default for Watch {
    /// One that stands still.
    fn default() -> Self {
        Self::by(|| 0.0)
    }
}

impl Watch {
    pub(crate) fn by(clock: fn() -> f64) -> Self {
        Self {
            clock,
            last: Cell::new(0.0),
            spent: Cell::default(),
        }
    }

    /// Puts the time since the last call to what was being done.
    pub(crate) fn did(&self, what: Doing) {
        let now = (self.clock)();
        let took = now - self.last.replace(now);
        let mut spent = self.spent.get();
        match what {
            Doing::Other => return,
            Doing::Forward => spent.forward += took,
            Doing::Backward => spent.backward += took,
            Doing::Update => spent.update += took,
            Doing::ReadBack => spent.read_back += took,
            Doing::Helpers => spent.helpers += took,
        }
        self.spent.set(spent);
    }

    /// What was spent since this was last asked.
    pub(crate) fn take(&self) -> Spent {
        self.spent.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_to_what_was_done_in_it() {
        thread_local!(static NOW: Cell<f64> = const { Cell::new(5.0) });
        let later = |ms: f64| NOW.with(|now| now.set(now.get() + ms));
        let watch = Watch::by(|| NOW.with(Cell::get));
        watch.did(Doing::Other);
        later(2.0);
        watch.did(Doing::Forward);
        later(3.0);
        watch.did(Doing::Backward);
        later(10.0);
        watch.did(Doing::Other);
        later(1.0);
        watch.did(Doing::Forward);
        let spent = watch.take();
        assert_eq!(
            (spent.forward, spent.backward, spent.update),
            (3.0, 3.0, 0.0)
        );
        assert_eq!(watch.take(), Spent::default());
    }
}
