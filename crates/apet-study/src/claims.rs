//! What runs say about the paper's claims: cells of scores, what is measured of them, and intervals.

pub(crate) mod bootstrap;
mod cells;
mod measures;
pub(crate) mod placements;
pub(crate) mod results;
pub(crate) mod thresholds;

#[cfg(test)]
mod tests;
