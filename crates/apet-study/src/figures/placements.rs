//! How much it matters where APET's parameters are, against the size of the model.

use std::fmt::Write;

use super::data::{
    Axis, Content, Figure, FigurePoint, FigureQuery, Kind, Scale, Scope, Series, Unit,
};
use crate::claims::placements::{Placements, Spread};
use crate::records::entries::Study;
use crate::records::filter::{Split, score};

pub(super) const FIGURE: Figure = Figure {
    id: "placements",
    title: "Spread across placements",
    question: "How much does it matter where APET's parameters are, and does that change with scale?",
    kind: Kind::Scatter,
    scope: Scope::Study,
    options: &[],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let found = study.placements(query.runs.as_deref());
    let mut note = String::from(
        "Standard deviation of scores across placements, without the effect of the other seeds, with 95 % intervals.",
    );
    if let Some(trend) = trend(&found) {
        let _ = write!(note, " {trend}");
    }
    let series = |of: &Spread| Series {
        name: of.model.clone(),
        colour: of.model.clone(),
        points: vec![point(study, query, of)],
        ..Series::default()
    };
    Content {
        x: Axis::new("parameters of the model", Scale::Log, Unit::Parameters),
        y: Axis::new("points", Scale::Linear, Unit::Points),
        series: found.models.iter().map(series).collect(),
        references: Vec::new(),
        note,
        left_out: Vec::new(),
        text: text(&found),
    }
}

fn point(study: &Study, query: &FigureQuery, of: &Spread) -> FigurePoint {
    let [spread, low, high] = [of.spread, of.low, of.high].map(|x| 100.0 * x);
    let entries = study.once(query.runs.as_deref()).filter(|entry| {
        let spec = &entry.record.header.spec;
        let has = |split| score(&entry.record, split).is_some();
        spec.model == of.model
            && spec.method.name() == "apet"
            && (has(Split::Test) || has(Split::Dev))
    });
    FigurePoint {
        x: of.parameters as f64,
        y: spread,
        low: Some(low),
        high: Some(high),
        label: format!(
            "{}: {spread:.1} [{low:.1}, {high:.1}] points, {} tasks and counts, {} placements x {} seeds",
            of.model, of.cells, of.placements, of.seeds
        ),
        runs: entries.map(|entry| entry.row.key.clone()).collect(),
        ..FigurePoint::default()
    }
}

fn trend(placements: &Placements) -> Option<String> {
    let of = placements.trend?;
    let [slope, low, high] = [of.slope, of.low, of.high].map(|x| 100.0 * x);
    Some(format!(
        "With ten times as many parameters in the model it changes by {slope:+.1} points [{low:+.1}, {high:+.1}], p = {:.2}.",
        of.p
    ))
}

fn text(placements: &Placements) -> String {
    if placements.models.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## Spread of APET across placements\n\nStandard deviation of the score across placement seeds, points, apart from what the other \
         seeds do; pooled over tasks and counts, with 95 % intervals.\n\n\
         | model | cells | placements x seeds | spread | rest |\n|---|---|---|---|---|\n",
    );
    for of in &placements.models {
        let [spread, low, high, rest] = [of.spread, of.low, of.high, of.rest].map(|x| 100.0 * x);
        let (model, cells, rows, columns) = (&of.model, of.cells, of.placements, of.seeds);
        let _ = writeln!(
            text,
            "| {model} | {cells} | {rows} x {columns} | {spread:.1} [{low:.1}, {high:.1}] | {rest:.1} |"
        );
    }
    if let Some(trend) = trend(placements) {
        let _ = writeln!(text, "\n{trend}");
    }
    text
}
