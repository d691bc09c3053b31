//! A table's rows back as records: what [`super::columns::table_values`] made of them, without their steps.

use apet_record::{
    DeviceInfo, Eval, Header, Line, Metric, ModelInfo, RECORD_VERSION, RunRecord, RunSpec,
    SoftwareInfo, Status, Summary, TaskInfo, ThetaInfo,
};
use serde::Deserialize;

/// Why a table's row is no run, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {number}: {problem}; expected a table of `apet collect`, or its columns")]
pub struct TableError {
    /// From 1; 0 of the table itself.
    pub number: usize,
    /// What was found.
    pub problem: String,
}

/// The columns that make a record. Others are made of these.
#[derive(Deserialize)]
struct TableRow {
    run: String,
    model: String,
    family: String,
    parameters: u64,
    parameters_without_embeddings: u64,
    task: String,
    metric: Metric,
    train_rows: usize,
    theta: String,
    #[serde(alias = "tuned")]
    trainable_parameters: u64,
    #[serde(alias = "nominal")]
    requested_parameters: u64,
    head: u64,
    status: Status,
    steps: Option<usize>,
    best_step: Option<usize>,
    dev: Option<f64>,
    test: Option<f64>,
    uniform_guess: f64,
    majority_guess: f64,
    seconds: Option<f64>,
    peak_bytes: Option<u64>,
    device: String,
    host: String,
    started: String,
    spec: String,
}

/// The records of a table as JSON, `[{column: value, ...}, ...]`; none where the text is something else.
pub(crate) fn read(text: &str) -> Option<Result<Vec<RunRecord>, TableError>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let wrong = |number: usize, problem: String| TableError { number, problem };
    let rows: Vec<serde_json::Value> = match serde_json::from_str(text) {
        Ok(rows) => rows,
        Err(e) => return Some(Err(wrong(0, e.to_string()))),
    };
    let rows = rows.into_iter().enumerate().map(|(at, row)| {
        let row = serde_path_to_error::deserialize::<_, TableRow>(row);
        let row = row.map_err(|e| wrong(at + 1, e.to_string()))?;
        let spec = serde_json::from_str(&row.spec);
        let spec = spec.map_err(|e| wrong(at + 1, format!("spec: {e}")))?;
        Ok(row.record(spec))
    });
    Some(rows.collect())
}

impl TableRow {
    fn record(self, spec: RunSpec) -> RunRecord {
        let eval = |split: &str, step: usize, score: Option<f64>| {
            score.map(|score| Eval {
                step,
                split: split.into(),
                metric: self.metric.name().into(),
                score,
                loss: None,
                rows: 0,
                extra: Default::default(),
            })
        };
        let best_step = self.best_step.unwrap_or_default();
        let evals = [
            eval("dev", best_step, self.dev),
            eval("test", best_step, self.test),
        ];
        let mut lines: Vec<Line> = evals.into_iter().flatten().map(Line::Eval).collect();
        if self.status != Status::Unfinished {
            lines.push(Line::Summary(Summary {
                status: self.status,
                steps: self.steps.unwrap_or_default(),
                best_step,
                dev: self.dev,
                test: self.test,
                seconds: self.seconds.unwrap_or_default(),
                peak_bytes: self.peak_bytes,
                message: String::new(),
                extra: Default::default(),
            }));
        }
        RunRecord {
            header: Header {
                record: RECORD_VERSION.into(),
                run: self.run,
                spec,
                model: ModelInfo {
                    name: self.model,
                    family: self.family,
                    parameters: self.parameters,
                    parameters_without_embeddings: self.parameters_without_embeddings,
                    ..ModelInfo::default()
                },
                theta: ThetaInfo {
                    method: self.theta,
                    requested_parameters: self.requested_parameters,
                    trainable_parameters: self.trainable_parameters,
                    head: self.head,
                    ..ThetaInfo::default()
                },
                task: TaskInfo {
                    name: self.task,
                    metric: self.metric,
                    train_rows: self.train_rows,
                    uniform_guess: self.uniform_guess,
                    majority_guess: self.majority_guess,
                    ..TaskInfo::default()
                },
                device: DeviceInfo {
                    name: self.device,
                    host: self.host,
                    ..DeviceInfo::default()
                },
                software: SoftwareInfo::default(),
                started: self.started,
                extra: Default::default(),
            },
            lines,
            truncated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;
    use crate::{COLUMNS, Study, TableValue, records, table_values};

    /// A record's row as JSON.
    fn row(record: &RunRecord) -> serde_json::Value {
        let values = table_values(record).into_iter().map(|value| match value {
            TableValue::Text(text) => serde_json::json!(text),
            TableValue::Whole(number) => serde_json::json!(number),
            TableValue::Real(number) => serde_json::json!(number),
        });
        let names = COLUMNS.iter().map(|column| column.name.to_owned());
        serde_json::Value::Object(names.zip(values).collect())
    }

    #[test]
    fn a_table_s_rows_are_the_runs_they_were_made_of() {
        let runs = [
            Run {
                dev: Some(0.8),
                test: Some(0.7),
                steps: 9,
                ..Run::default()
            },
            Run {
                status: Status::Diverged,
                test: None,
                seed: 2,
                ..Run::default()
            },
            Run {
                status: Status::Unfinished,
                seed: 3,
                ..Run::default()
            },
        ];
        let made: Vec<RunRecord> = runs
            .iter()
            .map(|run| RunRecord::parse(&run.text()).unwrap().remove(0))
            .collect();
        let table = serde_json::Value::Array(made.iter().map(row).collect()).to_string();
        let back = records(&table).unwrap();
        // All columns are the same again, but for how fast a run converged: its evaluations are not in the table.
        for (back, made) in back.iter().zip(&made) {
            let [mut back, mut made] = [row(back), row(made)];
            for row in [&mut back, &mut made] {
                row["steps_to_90"].take();
            }
            assert_eq!(back, made);
        }
        let mut study = Study::new();
        assert_eq!(study.add("runs.parquet", &table).unwrap().added, 3);
        let whole = made.iter().map(RunRecord::to_jsonl).collect::<String>();
        // A record with its steps takes the place of the row.
        assert!(study.add("x", &whole).unwrap().replaced > 0);
    }

    #[test]
    fn another_table_is_refused() {
        for (text, expected) in [
            (
                "[{\"a\": 1}]",
                "row 1: missing field `run`; expected a table of `apet collect`",
            ),
            ("[1]", "row 1: "),
            ("[{]", "row 0: "),
        ] {
            let said = records(text).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        }
        let run = RunRecord::parse(&Run::default().text()).unwrap().remove(0);
        let mut row = row(&run);
        row["spec"] = "{}".into();
        let said = records(&format!("[{row}]")).unwrap_err().to_string();
        assert!(
            said.starts_with("row 1: spec: missing field `model`"),
            "{said}"
        );
    }
}
