//! Steps to 90 % of the best dev score against the number of trainable parameters.

use super::data::{Axis, Content, Figure, FigureQuery, Kind, Scale, Scope, Unit};
use super::trade::{points, series, table};
use crate::records::cost::{Cost, ParetoPoint};
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "convergence",
    title: "Convergence",
    question: "How many steps does a run take to come near its best score?",
    kind: Kind::Scatter,
    scope: Scope::Task,
    options: &["task", "model", "split"],
    in_report: false,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let found = study.trade_offs(&query.filter(), Cost::Steps);
    let place = |of: &ParetoPoint| (of.group.count as f64, None, None);
    let value = |of: &ParetoPoint| (of.cost.mean, of.cost.low, of.cost.high);
    Content {
        x: Axis::new("trainable parameters", Scale::Log, Unit::Parameters),
        y: Axis::new("steps to 90 % of the best dev score", Scale::Linear, Unit::Steps),
        series: series(points(&found, Cost::Steps, place, value)),
        references: Vec::new(),
        note: "The first evaluation at which dev has come 90 % of the way from a guess to its best; means over seeds, 95 % intervals.".into(),
        left_out: Vec::new(),
        text: table("Convergence", &found, Cost::Steps),
    }
}
