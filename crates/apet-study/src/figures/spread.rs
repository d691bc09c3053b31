//! The spread of scores across methods against the size of the model: the paper's first claim.

use super::claim;
use super::data::{Axis, Content, Figure, FigureQuery, Kind, Scale, Scope, Unit};
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "spread",
    title: "Spread across methods",
    question: "Do methods differ less on larger models?",
    kind: Kind::Scatter,
    scope: Scope::Study,
    options: &[],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let y = Axis::new("points", Scale::Linear, Unit::Points);
    claim::content(study, query, 1, y)
}
