//! How runs converged, how far theta moved, and how flat the loss is there.

use std::fmt::Write;

use super::data::{
    Axis, Content, Figure, FigurePoint, FigureQuery, Kind, Scale, Scope, Series, Unit,
};
use super::text::{mean, runs, with_commas};
use crate::records::convergence::ConvergenceStats;
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "landscape",
    title: "Distance and flatness",
    question: "How far does theta move, and how flat is the loss where it ends?",
    kind: Kind::Scatter,
    scope: Scope::Study,
    options: &["task", "model"],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let mut found = study.convergence(query.runs.as_deref());
    found.retain(|of| query.has(&of.model, &of.task));
    Content {
        x: Axis::new(
            "distance from the initial theta",
            Scale::Log,
            Unit::Distance,
        ),
        y: Axis::new(
            "rise of the training loss over a random step of that length",
            Scale::Linear,
            Unit::Nats,
        ),
        series: found.iter().filter_map(series).collect(),
        references: Vec::new(),
        note:
            "Means over seeds with 95 % intervals; runs whose loss was measured around their end."
                .into(),
        left_out: Vec::new(),
        text: text(&found),
    }
}

fn series(of: &ConvergenceStats) -> Option<Series> {
    let (way, rise) = (of.way?, of.rise?);
    let (model, method, count) = (&of.model, &of.method, with_commas(of.count));
    let point = FigurePoint {
        x: way.mean,
        y: rise.mean,
        low: rise.low,
        high: rise.high,
        x_low: way.low,
        x_high: way.high,
        label: format!(
            "{model} on {}, {method}, {count} parameters: distance {}, rise {}, {}",
            of.task,
            mean(of.way),
            mean(of.rise),
            runs(of.runs)
        ),
        runs: of.keys.clone(),
        ..FigurePoint::default()
    };
    Some(Series {
        name: format!("{model} {method} {count}"),
        colour: model.clone(),
        symbol: method.clone(),
        points: vec![point],
        ..Series::default()
    })
}

fn text(found: &[ConvergenceStats]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## How runs got there\n\nSteps until dev had come 90 % of the way from the guess to its best, the length of theta's way, and by how \
         much the training loss rises over a random step as long as that way. Mean and 95 % interval over seeds.\n\n\
         | model | task | method | tuned | steps | way | rise | runs |\n|---|---|---|---|---|---|---|---|\n",
    );
    for of in found {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            of.model,
            of.task,
            of.method,
            with_commas(of.count),
            mean(of.steps),
            mean(of.way),
            mean(of.rise),
            of.runs
        );
    }
    text
}
