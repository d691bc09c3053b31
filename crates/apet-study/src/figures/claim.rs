//! What the figures of the paper's claims have in common: an estimate with its interval for each model, against its size.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::data::{Axis, Content, FigurePoint, FigureQuery, Scale, Series, Unit};
use super::text::rounded;
use crate::claims::bootstrap::Estimate;
use crate::claims::results::ClaimResult;
use crate::records::entries::Study;

/// The figure of a claim, by its number; `y` is what its estimates are.
pub(super) fn content(study: &Study, query: &FigureQuery, number: usize, y: Axis) -> Content {
    let evidence = study.evidence(query.runs.as_deref());
    let claim = evidence.claim(number);
    let sizes = sizes(study);
    let estimates = claim.figures.iter().zip(evidence.keys(number));
    let series = |(estimate, runs): (&Estimate, Vec<String>)| {
        let model = &estimate.of;
        let point = FigurePoint {
            x: sizes.get(model).copied().unwrap_or_default() as f64,
            y: estimate.value?,
            low: estimate.low,
            high: estimate.high,
            label: label(estimate, claim.unit),
            runs,
            ..FigurePoint::default()
        };
        Some(Series {
            name: model.clone(),
            colour: model.clone(),
            points: vec![point],
            ..Series::default()
        })
    };
    Content {
        x: Axis::new("parameters of the model", Scale::Log, Unit::Parameters),
        y,
        series: estimates.filter_map(series).collect(),
        references: Vec::new(),
        note: format!(
            "{} Claim {number} is {} by these runs. {}",
            claim.measure,
            claim.verdict.name(),
            claim.reason
        ),
        left_out: Vec::new(),
        text: text(&claim),
    }
}

/// Parameters of every model, by name.
pub(super) fn sizes(study: &Study) -> BTreeMap<String, u64> {
    let rows = study.each_row();
    rows.map(|row| (row.model.clone(), row.parameters))
        .collect()
}

fn label(estimate: &Estimate, unit: &str) -> String {
    let (value, interval) = in_words(estimate, unit);
    let mut label = format!("{}: {value} {unit}", estimate.of);
    for more in [&interval, &estimate.note] {
        if !more.is_empty() {
            let _ = write!(label, ", {more}");
        }
    }
    label
}

fn text(claim: &ClaimResult) -> String {
    let mut text = format!(
        "\n## Claim {}: {}\n\n{}\n\n{} {}\n\n| model | {} | 95 % interval | |\n|---|---|---|---|\n",
        claim.number,
        claim.verdict.name(),
        claim.claim,
        claim.measure,
        claim.reason,
        claim.unit,
    );
    for estimate in &claim.figures {
        let (value, interval) = in_words(estimate, claim.unit);
        let _ = writeln!(
            text,
            "| {} | {value} | {interval} | {} |",
            estimate.of, estimate.note
        );
    }
    text
}

/// An estimate and its interval.
fn in_words(estimate: &Estimate, unit: &str) -> (String, String) {
    let number = |x: f64| match unit {
        "parameters" => rounded(x),
        _ => format!("{x:.1}"),
    };
    let Some(value) = estimate.value else {
        let none = match unit {
            "parameters" => "not reached",
            _ => "-",
        };
        return (none.into(), String::new());
    };
    let interval = match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{} to {}", number(low), number(high)),
        (Some(low), None) => format!("{} to more than was tried", number(low)),
        _ => String::new(),
    };
    (number(value), interval)
}
