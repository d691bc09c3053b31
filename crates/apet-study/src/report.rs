//! A study's report as Markdown: what was scored, and what that says about the claims.

use std::fmt::Write;

use crate::claims::bootstrap::Estimate;
use crate::claims::placements::Placements;
use crate::claims::results::ClaimResults;
use crate::claims::thresholds::Thresholds;
use crate::records::convergence::ConvergenceStats;
use crate::records::entries::Study;
use crate::records::filter::Filter;
use crate::records::paired::Paired;
use crate::records::score_groups::{Group, ScoreGroups};
use crate::stats::logistic::Threshold;
use crate::stats::sample::Mean;

/// What a report tells.
struct ReportInputs<'a> {
    figure: &'a ScoreGroups,
    paired: &'a [Paired],
    thresholds: &'a [Thresholds],
    optimised: &'a [ConvergenceStats],
    placements: &'a Placements,
    answers: &'a ClaimResults,
}

/// The report of a study.
fn report(name: &str, about: &str, inputs: &ReportInputs<'_>) -> String {
    let ReportInputs {
        figure,
        paired,
        thresholds,
        optimised,
        placements,
        answers,
    } = inputs;
    let mut text = format!("# {name}\n\n{about}\n");
    if answers.left_out > 0 {
        let (left, runs) = (answers.left_out, answers.runs);
        let _ = writeln!(
            text,
            "\n{left} runs have no score and are left out; {runs} have one."
        );
    }
    let mut tasks: Vec<&str> = figure.groups.iter().map(|group| &group.task[..]).collect();
    tasks.sort_unstable();
    tasks.dedup();
    for task in tasks {
        scores(&mut text, task, figure);
        differences(&mut text, paired.iter().filter(|pair| pair.task == task));
    }
    counts(&mut text, thresholds);
    positions(&mut text, placements);
    ways(&mut text, optimised);
    for answer in &answers.claims {
        let _ = write!(
            text,
            "\n## Claim {}: {}\n\n{}\n\n{} {}\n\n| model | {} | 95 % interval | |\n|---|---|---|---|\n",
            answer.number,
            answer.verdict.name(),
            answer.claim,
            answer.measure,
            answer.reason,
            answer.unit,
        );
        for estimate in &answer.figures {
            let (value, interval) = in_words(estimate, answer.unit);
            let _ = writeln!(
                text,
                "| {} | {value} | {interval} | {} |",
                estimate.of, estimate.note
            );
        }
    }
    text
}

/// The test scores of every way to tune every model.
fn scores(text: &mut String, task: &str, figure: &ScoreGroups) {
    let groups = figure.groups.iter().filter(|group| group.task == task);
    let mut groups: Vec<_> = groups.collect();
    let metric = groups.first().map_or("score", |group| group.metric);
    let mut title = metric.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let _ = write!(
        text,
        "\n## {task}\n\n{title} on test in percent, mean, 95 % interval and standard deviation over seeds.\n\n\
         | model | parameters | method | tuned | {metric} | S.D. | seeds |\n|---|---|---|---|---|---|---|\n"
    );
    groups.sort_by(|a, b| {
        let key = |g: &Group| (g.parameters, g.model.clone(), g.method.clone(), g.count);
        key(a).cmp(&key(b))
    });
    for group in groups {
        let interval = match (group.low, group.high) {
            (Some(low), Some(high)) => format!(" [{:.1}, {:.1}]", 100.0 * low, 100.0 * high),
            _ => String::new(),
        };
        let deviation = group.deviation.map(|x| format!("{:.1}", 100.0 * x));
        let deviation = deviation.unwrap_or_else(|| "-".into());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.1}{interval} | {deviation} | {} |",
            group.model,
            grouped(group.parameters),
            group.method,
            grouped(group.count),
            100.0 * group.mean,
            group.n
        );
    }
}

/// What models score above one another.
fn differences<'a>(text: &mut String, pairs: impl Iterator<Item = &'a Paired>) {
    let mut pairs = pairs.peekable();
    if pairs.peek().is_none() {
        return;
    }
    let _ = write!(
        text,
        "\nOne model less another, points, paired by seed.\n\n\
         | method | | difference | 95 % interval | seeds |\n|---|---|---|---|---|\n"
    );
    for pair in pairs {
        let [mean, low, high] = [pair.mean, pair.low, pair.high].map(|x| 100.0 * x);
        let (method, from, to, n) = (&pair.method, &pair.from, &pair.to, pair.n);
        let _ = writeln!(
            text,
            "| {method} | {to} - {from} | {mean:+.1} | {low:+.1} to {high:+.1} | {n} |"
        );
    }
}

/// From which counts APET is above its reference, and as good as full fine-tuning.
fn counts(text: &mut String, thresholds: &[Thresholds]) {
    let known = |of: &Thresholds| {
        let tried = of.low_tried.is_some() || of.high_tried.is_some();
        tried || of.low.is_some() || of.high.is_some()
    };
    if !thresholds.iter().any(known) {
        return;
    }
    text.push_str(
        "\n## Thresholds of APET\n\nLow: the first count that was tried and is above the head alone (or a guess) beyond the noise; where a \
         logistic curve through the scores has gone 5 % of the way from there to full fine-tuning. High: where 95 % of the way is gone, \
         between the counts that were tried, or on the curve. In brackets 95 % intervals; an open end goes on beyond what was tried.\n\n\
         | model | task | low, tried | low, curve | high, tried | high, curve |\n|---|---|---|---|---|---|\n",
    );
    let number = |x: f64| grouped(x.round() as u64);
    let tried = |count: Option<f64>| count.map_or("not reached".into(), number);
    let curve = |found: Option<Threshold>| match found {
        None => "-".into(),
        Some(of) => {
            let [low, high] = [of.low, of.high].map(|end| end.map_or("...".into(), number));
            format!("{} [{low}, {high}]", number(of.count))
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
}

/// How runs came to where they are.
fn ways(text: &mut String, optimised: &[ConvergenceStats]) {
    if optimised.is_empty() {
        return;
    }
    text.push_str(
        "\n## How runs got there\n\nSteps until dev had come 90 % of the way from the guess to its best, the length of theta's way, and by how \
         much the training loss rises over a random step as long as that way. Mean and 95 % interval over seeds.\n\n\
         | model | task | method | tuned | steps | way | rise | runs |\n|---|---|---|---|---|---|---|---|\n",
    );
    let shown = |found: Option<Mean>| match found {
        None => "-".into(),
        Some(of) => match of.low.zip(of.high) {
            None => format!("{:.3}", of.mean),
            Some((low, high)) => format!("{:.3} [{low:.3}, {high:.3}]", of.mean),
        },
    };
    for of in optimised {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            of.model,
            of.task,
            of.method,
            grouped(of.count),
            shown(of.steps),
            shown(of.way),
            shown(of.rise),
            of.runs
        );
    }
}

/// How much it matters where APET's parameters are.
fn positions(text: &mut String, placements: &Placements) {
    if placements.models.is_empty() {
        return;
    }
    text.push_str(
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
    if let Some(of) = placements.trend {
        let [slope, low, high] = [of.slope, of.low, of.high].map(|x| 100.0 * x);
        let _ = writeln!(
            text,
            "\nWith ten times as many parameters in the model it changes by {slope:+.1} points [{low:+.1}, {high:+.1}], p = {:.2}.",
            of.p
        );
    }
}

/// A figure and its interval.
fn in_words(estimate: &Estimate, unit: &str) -> (String, String) {
    let number = |x: f64| match unit {
        "parameters" => grouped(x.round() as u64),
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

/// With commas.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Study {
    /// The report as Markdown: all scores, and what they say about the paper's four claims; of `runs` (keys or run ids), or
    /// of all.
    pub fn report(&self, name: &str, about: &str, runs: Option<&[String]>) -> String {
        let figure = self.score_against_count(&Filter {
            runs: runs.map(<[String]>::to_vec),
            ..Filter::default()
        });
        report(
            name,
            about,
            &ReportInputs {
                figure: &figure,
                paired: &self.paired(runs),
                thresholds: &self.thresholds(runs),
                optimised: &self.convergence(runs),
                placements: &self.placements(runs),
                answers: &self.claims(runs),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;

    #[test]
    fn counts_have_commas() {
        let shown = [0, 12, 999, 1000, 1234567].map(grouped);
        assert_eq!(shown, ["0", "12", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_report_has_the_thresholds_of_apet() {
        let mut study = Study::new();
        let mut add = |method: &'static str, count: u64, seed: u64, test: f64| {
            let run = Run {
                seed,
                count,
                method,
                test: Some(test),
                ..Run::default()
            };
            study.add("x", &run.text()).unwrap();
        };
        for seed in [1, 2, 3] {
            let noise = 0.002 * seed as f64;
            add("full", 22_000_000, seed, 0.9 + noise);
            add("head", 0, seed, 0.5 + noise);
            for (count, score) in [
                (10, 0.5),
                (100, 0.51),
                (1000, 0.7),
                (10_000, 0.89),
                (100_000, 0.9),
                (1_000_000, 0.905),
            ] {
                add("apet", count, seed, score + noise);
            }
        }
        let found = &study.thresholds(None)[0];
        // The fixture's majority guess is 52 %.
        assert_eq!(found.low_tried, Some(1000.0), "{found:?}");
        let (low, high) = (found.low.unwrap().count, found.high.unwrap().count);
        assert!((100.0..400.0).contains(&low), "{found:?}");
        assert!((3_000.0..11_000.0).contains(&high), "{found:?}");
        let text = study.report("small", "About.", None);
        assert!(
            text.contains("\n## Thresholds of APET\n")
                && text.contains("| minilm-l6 | sst2 | 1,000 | "),
            "{text}"
        );
    }

    #[test]
    fn a_report_has_scores_and_claims() {
        let mut study = Study::new();
        for (seed, score) in [(1, 0.8), (2, 0.82)] {
            let run = Run {
                seed,
                test: Some(score),
                ..Run::default()
            };
            study.add("x", &run.text()).unwrap();
        }
        let text = study.report("small", "About.", None);
        assert!(text.starts_with("# small\n\nAbout.\n\n## sst2\n"), "{text}");
        let row = "| minilm-l6 | 22,000,000 | apet | 10,000 | 81.0 [68.3, 93.7] | 1.4 | 2 |";
        assert!(text.contains(row), "{text}");
        assert_eq!(text.matches("\n## Claim ").count(), 4);
        assert!(text.contains("## Claim 4: undecided"), "{text}");
    }
}
