//! A study's report as Markdown: the text of every figure that belongs to it, one after another.

use std::fmt::Write;

use crate::figures::FIGURES;
use crate::figures::data::{Figure, FigureQuery, Scope};
use crate::records::entries::Study;

impl Study {
    /// The report as Markdown: all scores, and what they say about the paper's four claims; of `runs` (keys or run ids), or
    /// of all.
    pub fn report(&self, name: &str, about: &str, runs: Option<&[String]>) -> String {
        let inputs = ReportInputs { study: self, runs };
        let mut text = format!("# {name}\n\n{about}\n");
        let evidence = self.evidence(runs);
        if evidence.left_out > 0 {
            let (left, runs) = (evidence.left_out, evidence.runs);
            let _ = writeln!(
                text,
                "\n{left} runs have no score and are left out; {runs} have one."
            );
        }
        for task in inputs.tasks() {
            for figure in inputs.figures(Scope::Task) {
                text.push_str(&inputs.text(figure, Some(&task)));
            }
        }
        for figure in inputs.figures(Scope::Study) {
            text.push_str(&inputs.text(figure, None));
        }
        text
    }
}

/// What a report is computed from.
struct ReportInputs<'a> {
    study: &'a Study,
    /// Keys or run ids; all where absent.
    runs: Option<&'a [String]>,
}

impl ReportInputs<'_> {
    /// The figures of the report that are of one task, or of the whole study.
    fn figures(&self, scope: Scope) -> impl Iterator<Item = &'static Figure> + use<> {
        let figures = FIGURES.iter();
        figures.filter(move |figure| figure.in_report && figure.scope == scope)
    }

    fn query(&self, task: Option<&str>) -> FigureQuery {
        FigureQuery {
            task: task.map(str::to_owned),
            runs: self.runs.map(<[String]>::to_vec),
            ..FigureQuery::default()
        }
    }

    /// Tasks that have scores, by name.
    fn tasks(&self) -> Vec<String> {
        let scores = self.study.score_against_count(&self.query(None).filter());
        let mut tasks: Vec<String> = scores.groups.into_iter().map(|group| group.task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        tasks
    }

    fn text(&self, figure: &Figure, task: Option<&str>) -> String {
        figure.data(self.study, &self.query(task)).content.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;
    use crate::records::columns::{COLUMNS, ColumnKind};
    use serde_json::{Map, Value};

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

    /// The runs of a stored table give the stored report.
    #[test]
    fn a_stored_table_has_its_stored_report() {
        let runs = include_str!("../../../docs/studies/scaling/runs.csv");
        let stored = include_str!("../../../tests/fixtures/scaling-report.md");
        let mut table = csv::Reader::from_reader(runs.as_bytes());
        let columns = table.headers().unwrap().clone();
        let mut rows = Vec::new();
        for row in table.records() {
            let row = row.unwrap();
            let value = |(name, text): (&str, &str)| {
                let of_text = COLUMNS.iter().find(|column| column.name == name);
                let is_text = of_text.is_some_and(|column| column.kind == ColumnKind::Text);
                let value = match text {
                    "" => Value::Null,
                    _ if is_text => text.into(),
                    _ => serde_json::from_str(text).unwrap(),
                };
                (name.to_owned(), value)
            };
            let row: Map<String, Value> = columns.iter().zip(&row).map(value).collect();
            // Runs of 60 steps chose learning rates.
            if row["steps_planned"] == 100 {
                rows.push(Value::Object(row));
            }
        }
        let mut study = Study::new();
        let added = study.add("x", &Value::Array(rows).to_string()).unwrap();
        assert_eq!(added.added, 435);
        let about = "SST-2 and SNLI, subsampled, on six models of 0.6 to 109 million parameters.";
        let report = study.report("scaling", about, None);
        let lines = report.lines().zip(stored.lines());
        for (at, (ours, theirs)) in lines.enumerate() {
            assert_eq!(ours, theirs, "line {}", at + 1);
        }
        assert_eq!(report.lines().count(), stored.lines().count());
    }
}
