//! The count at which APET reaches full fine-tuning, against the size of the model: the paper's third claim.

use super::claim;
use super::data::{Axis, Content, Figure, FigureQuery, Kind, Scale, Scope, Unit};
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "full_tuning_count",
    title: "Parameters to reach full fine-tuning",
    question: "Do larger models reach full fine-tuning with fewer trainable parameters?",
    kind: Kind::Scatter,
    scope: Scope::Study,
    options: &[],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let y = Axis::new("trainable parameters", Scale::Log, Unit::Parameters);
    claim::content(study, query, 3, y)
}
