//! From which counts APET is above its reference, and as good as full fine-tuning, by model and task.

use std::fmt::Write;

use super::claim::sizes;
use super::data::{
    Axis, Content, Figure, FigurePoint, FigureQuery, Kind, Scale, Scope, Series, Unit,
};
use super::text::rounded;
use crate::claims::thresholds::Thresholds;
use crate::records::entries::Study;
use crate::records::filter::{Split, score};
use crate::stats::logistic::Threshold;

pub(super) const FIGURE: Figure = Figure {
    id: "thresholds",
    title: "Thresholds of APET",
    question: "From how many trainable parameters does APET help, and from how many is it as good as full fine-tuning?",
    kind: Kind::Scatter,
    scope: Scope::Study,
    options: &["task", "model"],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let mut found = study.thresholds(query.runs.as_deref());
    found.retain(|of| query.has(&of.model, &of.task));
    Content {
        x: Axis::new("parameters of the model", Scale::Log, Unit::Parameters),
        y: Axis::new("trainable parameters", Scale::Log, Unit::Parameters),
        series: series(study, query, &found),
        references: Vec::new(),
        note: "Low: above the head alone. High: 95 % of the way from there to full fine-tuning. Circles: a logistic curve through \
               the scores of the runs, with 95 % intervals. Crosses: the first count that was tried (low), or a straight line \
               between the counts that were tried (high)."
            .into(),
        left_out: Vec::new(),
        text: text(&found),
    }
}

/// For each panel, task and way of finding the count, one point a model.
fn series(study: &Study, query: &FigureQuery, found: &[Thresholds]) -> Vec<Series> {
    let sizes = sizes(study);
    let mut tasks: Vec<&str> = found.iter().map(|of| &of.task[..]).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let mut all = Vec::new();
    for (panel, is_low) in [("low threshold", true), ("high threshold", false)] {
        for symbol in ["curve", "tried"] {
            for task in &tasks {
                let point = |of: &Thresholds| {
                    let (curve, tried) = match is_low {
                        true => (of.low, of.low_tried),
                        false => (of.high, of.high_tried),
                    };
                    let (y, low, high) = match symbol {
                        "curve" => curve.map(|of| (of.count, of.low, of.high))?,
                        _ => (tried?, None, None),
                    };
                    let (model, task, count) = (&of.model, &of.task, rounded(y));
                    Some(FigurePoint {
                        x: sizes.get(model).copied().unwrap_or_default() as f64,
                        y,
                        low,
                        high,
                        label: format!("{panel} of {model} on {task}, {symbol}: {count}"),
                        runs: runs(study, query, model, task),
                        ..FigurePoint::default()
                    })
                };
                let of_task = found.iter().filter(|of| of.task == *task);
                let points: Vec<FigurePoint> = of_task.filter_map(point).collect();
                if !points.is_empty() {
                    all.push(Series {
                        name: format!("{task}, {symbol}"),
                        colour: (*task).to_owned(),
                        symbol: symbol.into(),
                        panel: panel.into(),
                        joined: symbol == "curve",
                        points,
                    });
                }
            }
        }
    }
    all
}

/// APET, full fine-tuning and the head alone, of a model on a task.
fn runs(study: &Study, query: &FigureQuery, model: &str, task: &str) -> Vec<String> {
    let entries = study.once(query.runs.as_deref()).filter(|entry| {
        let spec = &entry.record.header.spec;
        let of = |split| score(&entry.record, split);
        spec.model == model
            && spec.task.name == task
            && (spec.method.is_full() || ["apet", "head"].contains(&spec.method.name()))
            && of(Split::Test).or_else(|| of(Split::Dev)).is_some()
    });
    entries.map(|entry| entry.row.key.clone()).collect()
}

fn text(thresholds: &[Thresholds]) -> String {
    let known = |of: &Thresholds| {
        let tried = of.low_tried.is_some() || of.high_tried.is_some();
        tried || of.low.is_some() || of.high.is_some()
    };
    if !thresholds.iter().any(known) {
        return String::new();
    }
    let mut text = String::from(
        "\n## Thresholds of APET\n\nLow: the first count that was tried and is above the head alone (or a guess) beyond the noise; where a \
         logistic curve through the scores has gone 5 % of the way from there to full fine-tuning. High: where 95 % of the way is gone, \
         between the counts that were tried, or on the curve. In brackets 95 % intervals; an open end goes on beyond what was tried.\n\n\
         | model | task | low, tried | low, curve | high, tried | high, curve |\n|---|---|---|---|---|---|\n",
    );
    let tried = |count: Option<f64>| count.map_or("not reached".into(), rounded);
    let curve = |found: Option<Threshold>| match found {
        None => "-".into(),
        Some(of) => {
            let [low, high] = [of.low, of.high].map(|end| end.map_or("...".into(), rounded));
            format!("{} [{low}, {high}]", rounded(of.count))
        }
    };
    for of in thresholds {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            of.model,
            of.task,
            tried(of.low_tried),
            curve(of.low),
            tried(of.high_tried),
            curve(of.high),
        );
    }
    text
}
