//! Many runs: a table of them, their curves, and figures as data. Every statistic of
//! the lab is computed here, once, natively and in the page alike. No tensors, no files.

mod curve;
mod figure;
mod rates;
mod row;
mod stats;
mod study;

pub use curve::{Curve, Point};
pub use figure::{Figure, Filter, Group, Split};
pub use rates::{GRID, Rates, rates, tuning_runs};
pub use row::Row;
pub use stats::{Interval, interval95, mean, smoothed};
pub use study::{Added, Study, StudyError};

#[cfg(test)]
mod fixture;
