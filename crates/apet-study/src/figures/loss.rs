//! Training loss over steps, a line for each run.

use std::fmt::Write;

use super::data::{
    Axis, Content, Figure, FigurePoint, FigureQuery, Kind, Scale, Scope, Series, Unit,
};
use crate::records::curve::Curve;
use crate::records::entries::Study;

pub(super) const FIGURE: Figure = Figure {
    id: "loss",
    title: "Training loss",
    question: "How does the training loss fall?",
    kind: Kind::Lines,
    scope: Scope::Study,
    options: &["task", "model", "smoothing"],
    in_report: false,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let rows = study.asked(query.runs.as_deref()).map(|entry| &entry.row);
    let asked = rows.filter(|row| query.has(&row.model, &row.task));
    let keys: Vec<String> = asked.map(|row| row.key.clone()).collect();
    let curves = study.curves(&keys, query.smoothing);
    Content {
        x: Axis::new("step", Scale::Linear, Unit::Steps),
        y: Axis::new("training loss", Scale::Linear, Unit::Nats),
        series: curves.iter().map(series).collect(),
        references: Vec::new(),
        note: String::new(),
        left_out: Vec::new(),
        text: text(&curves),
    }
}

fn series(curve: &Curve) -> Series {
    let points = curve.points.iter().map(|point| FigurePoint {
        x: point.step as f64,
        y: point.value,
        label: format!("{}, step {}: {:.4}", curve.name, point.step, point.value),
        runs: vec![curve.key.clone()],
        ..FigurePoint::default()
    });
    Series {
        name: curve.name.clone(),
        colour: curve.key.clone(),
        joined: true,
        points: points.collect(),
        ..Series::default()
    }
}

fn text(curves: &[Curve]) -> String {
    if curves.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## Training loss\n\n| run | first loss | last loss | steps |\n|---|---|---|---|\n",
    );
    for curve in curves {
        if let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) {
            let _ = writeln!(
                text,
                "| {} | {:.4} | {:.4} | {} |",
                curve.name, first.value, last.value, last.step
            );
        }
    }
    text
}
