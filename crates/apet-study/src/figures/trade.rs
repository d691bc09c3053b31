//! Scores against what they cost, and the Pareto front.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::data::{
    Axis, Content, Figure, FigurePoint, FigureQuery, Kind, Scale, Scope, Series, Unit,
};
use super::text::{percent, rounded, runs, with_commas};
use crate::records::cost::{Cost, ParetoPoint};
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "trade",
    title: "Score against cost",
    question: "Which methods score most for their parameters, time, memory or steps?",
    kind: Kind::Scatter,
    scope: Scope::Task,
    options: &["task", "model", "split", "cost"],
    in_report: false,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let found = study.trade_offs(&query.filter(), query.cost);
    let (label, unit) = match query.cost {
        Cost::Parameters => ("trainable parameters", Unit::Parameters),
        Cost::Seconds => ("seconds of a run", Unit::Seconds),
        Cost::Memory => ("memory", Unit::Bytes),
        Cost::Steps => ("steps to 90 % of the best dev score", Unit::Steps),
    };
    let place = |of: &ParetoPoint| (of.cost.mean, of.cost.low, of.cost.high);
    let value = |of: &ParetoPoint| (of.group.mean, of.group.low, of.group.high);
    let metric = found.first().map_or("score", |of| of.group.metric);
    Content {
        x: Axis::new(label, Scale::Log, unit),
        y: Axis::new(metric, Scale::Linear, Unit::Score),
        series: series(points(&found, query.cost, place, value)),
        references: Vec::new(),
        note: "Means over seeds. Marked points are on the Pareto front: nothing scores as much for less.".into(),
        left_out: Vec::new(),
        text: table("Score against cost", &found, query.cost),
    }
}

/// A value with its interval.
type Value = (f64, Option<f64>, Option<f64>);
/// Model by size and name, then method.
type SeriesKey = (u64, String, String);

/// A point of each group with the place and the value that are read from it.
pub(super) fn points(
    found: &[ParetoPoint],
    cost: Cost,
    place: impl Fn(&ParetoPoint) -> Value,
    value: impl Fn(&ParetoPoint) -> Value,
) -> Vec<(SeriesKey, FigurePoint)> {
    let point = |of: &ParetoPoint| {
        let group = &of.group;
        let ((x, x_low, x_high), (y, low, high)) = (place(of), value(of));
        let point = FigurePoint {
            x,
            y,
            low,
            high,
            x_low,
            x_high,
            marked: of.front,
            label: format!(
                "{} {}, {} parameters: {} %, {}, {}",
                group.model,
                group.method,
                with_commas(group.count),
                percent(group.mean, group.low, group.high),
                paid(of.cost.mean, cost),
                runs(group.n)
            ),
            runs: group.runs.clone(),
        };
        let key = (group.parameters, group.model.clone(), group.method.clone());
        (key, point)
    };
    found.iter().map(point).collect()
}

/// One for each model and method.
pub(super) fn series(points: Vec<(SeriesKey, FigurePoint)>) -> Vec<Series> {
    let mut found: BTreeMap<SeriesKey, Vec<FigurePoint>> = BTreeMap::new();
    for (key, point) in points {
        found.entry(key).or_default().push(point);
    }
    let one = |((_, model, method), points): (SeriesKey, Vec<FigurePoint>)| Series {
        name: format!("{model} {method}"),
        colour: model,
        symbol: method,
        points,
        ..Series::default()
    };
    found.into_iter().map(one).collect()
}

fn paid(cost: f64, of: Cost) -> String {
    match of {
        Cost::Parameters => format!("{} parameters", rounded(cost)),
        Cost::Seconds => format!("{cost:.1} s"),
        Cost::Memory => format!("{:.0} MB", cost / 1e6),
        Cost::Steps => format!("{} steps", rounded(cost)),
    }
}

/// Scores and costs as a table.
pub(super) fn table(title: &str, found: &[ParetoPoint], cost: Cost) -> String {
    if found.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n## {title}\n\n| model | task | method | parameters | score, % | cost | Pareto front | runs |\n|---|---|---|---|---|---|---|---|\n"
    );
    for of in found {
        let group = &of.group;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            group.model,
            group.task,
            group.method,
            with_commas(group.count),
            percent(group.mean, group.low, group.high),
            paid(of.cost.mean, cost),
            if of.front { "yes" } else { "no" },
            group.n
        );
    }
    text
}
