//! What one model scores above another, paired by seed.

use std::fmt::Write;

use super::data::{
    Axis, Content, Figure, FigurePoint, FigureQuery, Kind, Scale, Scope, Series, Unit,
};
use crate::records::entries::Study;
use crate::records::paired::Paired;

pub(super) const FIGURE: Figure = Figure {
    id: "differences",
    title: "Differences between models",
    question: "How much higher does one model score than another with the same method and seeds?",
    kind: Kind::Bars,
    scope: Scope::Task,
    options: &["task", "model"],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let is_asked =
        |pair: &Paired| query.has(&pair.from, &pair.task) || query.has(&pair.to, &pair.task);
    let mut pairs = study.paired(query.runs.as_deref());
    pairs.retain(is_asked);
    let mut methods: Vec<&str> = pairs.iter().map(|pair| &pair.method[..]).collect();
    methods.dedup();
    let of_method = |method: &&str| Series {
        name: (*method).to_owned(),
        colour: (*method).to_owned(),
        points: points(&pairs, method),
        ..Series::default()
    };
    Content {
        x: Axis::new("models", Scale::Category, Unit::None),
        y: Axis::new("difference", Scale::Linear, Unit::Points),
        series: methods.iter().map(of_method).collect(),
        references: Vec::new(),
        note: "Mean differences over the seeds that both models have, with 95 % intervals.".into(),
        left_out: Vec::new(),
        text: text(&pairs),
    }
}

/// The bars of a method; a bar's place is that of its pair among all.
fn points(pairs: &[Paired], method: &str) -> Vec<FigurePoint> {
    let of_method = pairs
        .iter()
        .enumerate()
        .filter(|(_, pair)| pair.method == method);
    let point = |(at, pair): (usize, &Paired)| {
        let [mean, low, high] = [pair.mean, pair.low, pair.high].map(|x| 100.0 * x);
        FigurePoint {
            x: at as f64,
            y: mean,
            low: Some(low),
            high: Some(high),
            label: format!(
                "{}: {} - {} {mean:+.1} points [{low:+.1}, {high:+.1}], {} seeds",
                pair.method, pair.to, pair.from, pair.n
            ),
            runs: pair.runs.clone(),
            ..FigurePoint::default()
        }
    };
    of_method.map(point).collect()
}

fn text(pairs: &[Paired]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\nOne model less another, points, paired by seed.\n\n\
         | method | | difference | 95 % interval | seeds |\n|---|---|---|---|---|\n",
    );
    for pair in pairs {
        let [mean, low, high] = [pair.mean, pair.low, pair.high].map(|x| 100.0 * x);
        let (method, from, to, n) = (&pair.method, &pair.from, &pair.to, pair.n);
        let _ = writeln!(
            text,
            "| {method} | {to} - {from} | {mean:+.1} | {low:+.1} to {high:+.1} | {n} |"
        );
    }
    text
}
