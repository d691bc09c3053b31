//! One row of the runs table.

use apet_record::{Method, RunRecord, Seeds, Status};
use serde::Serialize;

use super::columns::steps_to;

/// A run in the runs table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Run id, `@`, host, `:`, device.
    pub key: String,
    /// Run id.
    pub run: String,
    /// Where the record came from.
    pub source: String,
    /// Short name: model, task, method, count, seeds.
    pub name: String,
    /// Model by name.
    pub model: String,
    /// Parameters of the model.
    pub parameters: u64,
    /// Task by name.
    pub task: String,
    /// Method by name.
    pub method: String,
    /// Parameters that were tuned, the head not counted.
    pub count: u64,
    /// Parameters that were asked for.
    pub requested_parameters: u64,
    /// The seed, or `placement/batches/init` where they differ.
    pub seeds: String,
    /// How it ended.
    pub status: Status,
    /// One sentence where it did not end as planned.
    pub message: String,
    /// Steps done.
    pub steps: usize,
    /// Steps planned.
    pub planned: usize,
    /// Best dev score, so far where the run is unfinished.
    pub dev: Option<f64>,
    /// Test score of the best checkpoint.
    pub test: Option<f64>,
    /// Step of the best dev score.
    pub best_step: Option<usize>,
    /// Device by name.
    pub device: String,
    /// What the driver calls itself.
    pub adapter: String,
    /// `native` or `browser`.
    pub host: String,
    /// Start, RFC 3339 in UTC.
    pub started: String,
    /// Seconds in all; unknown where the run is unfinished.
    pub seconds: Option<f64>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps until dev had come 90 % of the way from the guess to its best, as [`steps_to`] has it.
    pub steps_to_90: Option<usize>,
    /// The most bytes held at once, where that is known.
    pub peak_bytes: Option<u64>,
    /// The run id is not the hash of the spec: the record was edited.
    pub edited: bool,
}

impl Row {
    pub(crate) fn from_record(key: &str, source: &str, record: &RunRecord) -> Self {
        let header = &record.header;
        let summary = record.summary();
        let best = match summary {
            Some(s) => s.dev.map(|score| (score, s.best_step)),
            None => best_dev(record),
        };
        Self {
            key: key.into(),
            run: header.run.clone(),
            source: source.into(),
            name: name(record),
            model: header.spec.model.clone(),
            parameters: header.model.parameters,
            task: header.spec.task.name.clone(),
            method: header.spec.method.name().into(),
            count: header.theta.trainable_parameters,
            requested_parameters: header.theta.requested_parameters,
            seeds: seeds(&header.spec.seeds),
            status: record.status(),
            message: summary.map(|s| s.message.clone()).unwrap_or_default(),
            steps: summary.map_or_else(
                || record.steps().last().map_or(0, |step| step.step),
                |s| s.steps,
            ),
            planned: header.spec.train.steps,
            dev: best.map(|(score, _)| score),
            test: summary.and_then(|s| s.test),
            best_step: best.map(|(_, step)| step),
            device: header.device.name.clone(),
            adapter: header.device.adapter.clone(),
            host: header.device.host.clone(),
            started: header.started.clone(),
            seconds: summary.map(|s| s.seconds),
            learning_rate: header.spec.optimizer.learning_rate,
            steps_to_90: steps_to(0.9, record),
            peak_bytes: summary.and_then(|s| s.peak_bytes),
            edited: !record.id_is_true(),
        }
    }
}

/// The best dev score so far and its step; the earlier of two equal ones.
fn best_dev(record: &RunRecord) -> Option<(f64, usize)> {
    let evals = record.evals("dev").into_iter().map(|e| (e.score, e.step));
    evals.reduce(|best, next| if next.0 > best.0 { next } else { best })
}

/// Model, task, method, count, seeds: what a reader tells runs apart by.
fn name(record: &RunRecord) -> String {
    let header = &record.header;
    let spec = &header.spec;
    let (model, task, seeds) = (&spec.model, &spec.task.name, seeds(&spec.seeds));
    match &spec.method {
        Method::Head(_) => format!("{model} {task} head seed {seeds}"),
        method => {
            let (method, count) = (method.label(), header.theta.trainable_parameters);
            format!("{model} {task} {method} {count} seed {seeds}")
        }
    }
}

fn seeds(seeds: &Seeds) -> String {
    let Seeds {
        placement,
        batches,
        init,
    } = seeds;
    if placement == batches && batches == init {
        placement.to_string()
    } else {
        format!("{placement}/{batches}/{init}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Study;
    use crate::fixture::Run;

    fn row(text: &str) -> Row {
        let mut study = Study::new();
        study.add("here", text).unwrap();
        study.rows().remove(0)
    }

    #[test]
    fn a_finished_run_shows_its_summary() {
        let row = row(&Run {
            steps: 3,
            dev: Some(0.8),
            test: Some(0.7),
            ..Run::default()
        }
        .text());
        assert_eq!(row.name, "minilm-l6 sst2 apet 10000 seed 1");
        assert_eq!((row.status, row.steps, row.planned), (Status::Done, 3, 500));
        assert_eq!(
            (row.dev, row.test, row.best_step),
            (Some(0.8), Some(0.7), Some(3))
        );
        assert_eq!(
            (row.count, row.parameters, row.source.as_str()),
            (10_000, 22_000_000, "here")
        );
        assert!(!row.edited && row.seconds.is_some());
    }

    #[test]
    fn an_unfinished_run_shows_what_it_has() {
        let run = Run {
            steps: 3,
            status: Status::Unfinished,
            dev: Some(0.6),
            ..Run::default()
        };
        let row = row(&run.text());
        assert_eq!((row.status, row.steps), (Status::Unfinished, 3));
        assert_eq!(
            (row.dev, row.best_step, row.test, row.seconds),
            (Some(0.6), Some(1), None, None)
        );
    }

    #[test]
    fn an_edited_record_is_marked() {
        let text = Run::default().text();
        assert!(row(&text.replace("\"steps\":500", "\"steps\":501")).edited);
    }

    #[test]
    fn seeds_that_differ_are_all_shown() {
        assert_eq!(seeds(&Seeds::all(7)), "7");
        assert_eq!(
            seeds(&Seeds {
                placement: 1,
                batches: 2,
                init: 3
            }),
            "1/2/3"
        );
    }
}
