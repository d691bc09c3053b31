//! Figures as data: one file a figure, and the registry that the report and the page go through.
//!
//! A figure is a constant of its file, with a line in [`FIGURES`]. It says which question it answers and computes, from the
//! runs of a query, a plot of one of a few kinds and the same as Markdown. The page has one view for each kind.

mod claim;
pub(crate) mod data;
mod text;

mod apart;
mod convergence;
mod differences;
mod full_tuning_count;
mod landscape;
mod loss;
mod placements;
mod scores;
mod spread;
mod task_counts;
mod thresholds;
mod trade;

use self::data::Figure;

/// All figures; those of the report in its order.
pub const FIGURES: [Figure; 12] = [
    scores::FIGURE,
    differences::FIGURE,
    thresholds::FIGURE,
    placements::FIGURE,
    landscape::FIGURE,
    spread::FIGURE,
    apart::FIGURE,
    full_tuning_count::FIGURE,
    task_counts::FIGURE,
    convergence::FIGURE,
    trade::FIGURE,
    loss::FIGURE,
];

/// The figure with this id.
pub fn figure(id: &str) -> Option<&'static Figure> {
    const ALL: &[Figure] = &FIGURES;
    ALL.iter().find(|figure| figure.id == id)
}

#[cfg(test)]
mod tests;
