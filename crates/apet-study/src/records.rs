//! The runs that are looked at together: their records, which of them count, and tables over them.

pub(crate) mod columns;
pub(crate) mod comparison;
pub(crate) mod convergence;
pub(crate) mod cost;
pub(crate) mod curve;
pub(crate) mod entries;
pub(crate) mod filter;
pub(crate) mod grouping;
pub(crate) mod paired;
pub(crate) mod row;
pub(crate) mod score_groups;
pub(crate) mod table;
