//! Many runs: a grid of them, tables, curves, figures as data, and what they say about the paper's claims. Every statistic of
//! the lab is computed here, once, natively and in the page alike. No tensors, no files.
//!
//! A module uses modules of lower rank only:
//!
//! | rank | module | what it is |
//! |---|---|---|
//! | 0 | `stats` | statistics of numbers |
//! | 1 | `records` | the runs that are looked at together, filters, groups and tables |
//! | 1 | `plan` | grids and their runs by number |
//! | 2 | `claims` | what runs say about the paper's claims |
//! | 3 | `figures` | one figure a file: question, data, text |
//! | 4 | `report` | a study's report |

mod claims;
mod figures;
mod plan;
mod records;
mod report;
mod stats;

pub use claims::bootstrap::Estimate;
pub use claims::placements::{Placements, Spread, Trend};
pub use claims::results::{ClaimResult, ClaimResults, Verdict};
pub use claims::thresholds::Thresholds;
pub use figures::data::{
    Axis, Content, Figure, FigureData, FigurePoint, FigureQuery, Kind, Reference, Scale, Scope,
    Series, Unit,
};
pub use figures::{FIGURES, figure};
pub use plan::grid::{DEMO, Grid, GridMethod, PRESETS, RATES, Tune};
pub use plan::runs::{Plan, PlanCell, Stage};
pub use records::columns::{COLUMNS, Column, ColumnKind, TableValue, steps_to, table_values};
pub use records::comparison::ComparisonError;
pub use records::convergence::ConvergenceStats;
pub use records::cost::{Cost, ParetoPoint};
pub use records::curve::{Curve, Point};
pub use records::entries::{Added, Study, StudyError, key, records};
pub use records::filter::{Filter, Split};
pub use records::grouping::{By, GroupSummary, GroupValue};
pub use records::paired::Paired;
pub use records::row::Row;
pub use records::score_groups::{Group, ScoreGroups};
pub use records::table::TableError;
pub use stats::logistic::{Level, Logistic, Threshold, threshold};
pub use stats::sample::{Interval, Mean, deviation, interval95, mean, smoothed};

#[cfg(test)]
mod fixture;
