//! Statistics of numbers, without any record.

pub(crate) mod logistic;
pub(crate) mod sample;
