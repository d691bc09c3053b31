//! Figures as data: one file and one line in [`figures!`] each. The report and the page go through [`FIGURES`].
//!
//! A figure is the constant `FIGURE` of its file. It says which question it answers and computes, from the runs of a query,
//! a plot of one of a few kinds and the same as Markdown. The page has one view for each kind.

mod claim;
pub(crate) mod data;
mod text;

use self::data::Figure;

/// Declares each figure's module and the registry.
macro_rules! figures {
    ($($file:ident,)+) => {
        $(mod $file;)+

        /// All figures; those of the report in its order.
        pub const FIGURES: &[Figure] = &[$($file::FIGURE),+];
    };
}

figures! {
    scores,
    differences,
    thresholds,
    placements,
    landscape,
    spread,
    apart,
    full_tuning_count,
    task_counts,
    convergence,
    trade,
    loss,
}

/// The figure with this id.
pub fn figure(id: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.id == id)
}

#[cfg(test)]
mod tests;
