//! The distance of methods from APET with as many parameters, against the size of the model: the paper's second claim.

use super::claim;
use super::data::{Axis, Content, Figure, FigureQuery, Kind, Scale, Scope, Unit};
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "apart",
    title: "Distance from APET",
    question: "Does it matter less on larger models where the trainable parameters are?",
    kind: Kind::Scatter,
    scope: Scope::Study,
    options: &[],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let y = Axis::new("points", Scale::Linear, Unit::Points);
    claim::content(study, query, 2, y)
}
