//! The ratio of the counts that the tasks of a model need, against its size: the paper's fourth claim.

use super::claim;
use super::data::{Axis, Content, Figure, FigureQuery, Kind, Scale, Scope, Unit};
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "task_counts",
    title: "Counts across tasks",
    question: "Do the tasks of one model need similar numbers of trainable parameters?",
    kind: Kind::Scatter,
    scope: Scope::Study,
    options: &[],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let y = Axis::new("largest count / smallest count", Scale::Log, Unit::Factor);
    claim::content(study, query, 4, y)
}
