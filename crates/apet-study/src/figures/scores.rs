//! Scores against the number of trainable parameters: mean and interval over seeds, by model and method.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::data::{
    Axis, Content, Figure, FigurePoint, FigureQuery, Kind, Reference, Scale, Scope, Series, Unit,
};
use super::text::{percent, runs, with_commas};
use crate::records::entries::Study;
use crate::records::filter::Split;
use crate::records::score_groups::{Group, ScoreGroups};

pub(super) const FIGURE: Figure = Figure {
    id: "score",
    title: "Score against parameters",
    question: "How does the score depend on the number of trainable parameters?",
    kind: Kind::Scatter,
    scope: Scope::Task,
    options: &["task", "model", "split"],
    in_report: true,
    compute,
};

fn compute(study: &Study, query: &FigureQuery) -> Content {
    let scores = study.score_against_count(&query.filter());
    let label = scores.metric.unwrap_or("score");
    Content {
        x: Axis::new(
            "trainable parameters without the head",
            Scale::Log,
            Unit::Parameters,
        ),
        y: Axis::new(label, Scale::Linear, Unit::Score),
        series: series(&scores.groups),
        references: references(&scores),
        note: note(&scores),
        text: text(query, &scores),
        left_out: scores.left_out_runs,
    }
}

/// One for each model and method, its points by count.
fn series(groups: &[Group]) -> Vec<Series> {
    let mut found: BTreeMap<(u64, &str, &str), Vec<&Group>> = BTreeMap::new();
    for group in groups {
        let key = (group.parameters, &group.model[..], &group.method[..]);
        found.entry(key).or_default().push(group);
    }
    let one = |((_, model, method), groups): ((u64, &str, &str), Vec<&Group>)| Series {
        name: format!("{model} {method}"),
        colour: model.into(),
        symbol: method.into(),
        joined: true,
        points: groups.into_iter().map(point).collect(),
        ..Series::default()
    };
    found.into_iter().map(one).collect()
}

fn point(group: &Group) -> FigurePoint {
    FigurePoint {
        x: group.count as f64,
        y: group.mean,
        low: group.low,
        high: group.high,
        label: format!(
            "{} {}, {} parameters: {} %, {}",
            group.model,
            group.method,
            with_commas(group.count),
            percent(group.mean, group.low, group.high),
            runs(group.n)
        ),
        runs: group.runs.clone(),
        ..FigurePoint::default()
    }
}

/// Chance level, majority class and full fine-tuning.
fn references(scores: &ScoreGroups) -> Vec<Reference> {
    let level = |value: Option<f64>, label: &str| {
        value.map(|value| Reference {
            value,
            label: label.into(),
            colour: String::new(),
        })
    };
    let majority = scores.majority_guess;
    let majority = majority.filter(|guess| Some(*guess) != scores.uniform_guess);
    let full = scores.full.iter().map(|group| Reference {
        value: group.mean,
        label: "full fine-tuning".into(),
        colour: group.model.clone(),
    });
    let levels = [
        level(scores.uniform_guess, "chance level"),
        level(majority, "majority class"),
    ];
    levels.into_iter().flatten().chain(full).collect()
}

fn note(scores: &ScoreGroups) -> String {
    if scores.groups.is_empty() {
        return String::new();
    }
    let mut note =
        String::from("Points are means over seeds, bars their 95 % intervals (two seeds or more).");
    if !scores.full.is_empty() {
        note.push_str(" Broken lines: full fine-tuning.");
    }
    if scores.left_out > 0 {
        let _ = write!(
            note,
            " Unfinished, stopped or diverged: {}.",
            runs(scores.left_out)
        );
    }
    note
}

/// The test scores of every method on every model.
fn text(query: &FigureQuery, scores: &ScoreGroups) -> String {
    let mut groups: Vec<&Group> = scores.groups.iter().collect();
    let Some(first) = groups.first() else {
        return String::new();
    };
    let (metric, task) = (first.metric, query.task.as_ref().unwrap_or(&first.task));
    let split = match query.split {
        Split::Dev => "dev",
        Split::Test => "test",
    };
    let mut title = metric.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let mut text = format!(
        "\n## {task}\n\n{title} on {split} in percent, mean, 95 % interval and standard deviation over seeds.\n\n\
         | model | parameters | method | tuned | {metric} | S.D. | seeds |\n|---|---|---|---|---|---|---|\n"
    );
    groups.sort_by(|a, b| {
        let key = |g: &Group| (g.parameters, g.model.clone(), g.method.clone(), g.count);
        key(a).cmp(&key(b))
    });
    for group in groups {
        let deviation = group.deviation.map(|x| format!("{:.1}", 100.0 * x));
        let deviation = deviation.unwrap_or_else(|| "-".into());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {deviation} | {} |",
            group.model,
            with_commas(group.parameters),
            group.method,
            with_commas(group.count),
            percent(group.mean, group.low, group.high),
            group.n
        );
    }
    text
}
