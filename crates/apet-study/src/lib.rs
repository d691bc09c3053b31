//! Many runs: a grid of them, a table, their curves, figures as data, and what they say about the paper's claims. Every statistic of
//! the lab is computed here, once, natively and in the page alike. No tensors, no files.

mod answers;
mod comparison;
mod curve;
mod figure;
mod flat;
mod grid;
mod logistic;
mod optimised;
mod paired;
mod placements;
mod plan;
mod report;
mod row;
mod stats;
mod study;
mod summed;
mod table;
mod trade;

pub use answers::{ClaimResult, ClaimResults, Estimate, Thresholds, Verdict};
pub use comparison::ComparisonError;
pub use curve::{Curve, Point};
pub use figure::{Figure, Filter, Group, Split};
pub use flat::{COLUMNS, Column, ColumnKind, TableValue, steps_to, table_values};
pub use grid::{DEMO, Grid, GridMethod, PRESETS, RATES, Tune};
pub use logistic::{Level, Logistic, Threshold, threshold};
pub use optimised::{ConvergenceStats, Mean};
pub use paired::Paired;
pub use placements::{Placements, Spread, Trend};
pub use plan::{Plan, PlanCell, Stage};
pub use row::Row;
pub use stats::{Interval, deviation, interval95, mean, smoothed};
pub use study::{Added, Study, StudyError, key, records};
pub use summed::{By, GroupSummary, GroupValue};
pub use table::TableError;
pub use trade::{Cost, ParetoPoint};

#[cfg(test)]
mod fixture;
