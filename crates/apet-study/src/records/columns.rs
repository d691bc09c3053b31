//! A record as one row of a table, for other programs.

use apet_record::{RunRecord, canonical_json};

/// A column of the table: its name, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// A whole number.
    Whole,
    /// A number.
    Real,
}

/// A value of the table; none where the run has none.
#[derive(Clone, Debug, PartialEq)]
pub enum TableValue {
    /// Text.
    Text(Option<String>),
    /// A whole number.
    Whole(Option<i64>),
    /// A number.
    Real(Option<f64>),
}

impl From<&str> for TableValue {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<u64> for TableValue {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).ok())
    }
}

impl From<usize> for TableValue {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<f64> for TableValue {
    fn from(number: f64) -> Self {
        Self::Real(Some(number))
    }
}

const fn text(name: &'static str) -> Column {
    let kind = ColumnKind::Text;
    Column { name, kind }
}

const fn whole(name: &'static str) -> Column {
    let kind = ColumnKind::Whole;
    Column { name, kind }
}

const fn real(name: &'static str) -> Column {
    let kind = ColumnKind::Real;
    Column { name, kind }
}

/// The table's columns, in the order of [`table_values`]'s values.
pub const COLUMNS: [Column; 38] = [
    text("run"),
    text("model"),
    text("family"),
    whole("parameters"),
    whole("parameters_without_embeddings"),
    text("task"),
    text("metric"),
    whole("train_rows"),
    text("method"),
    text("theta"),
    whole("trainable_parameters"),
    whole("requested_parameters"),
    whole("head"),
    whole("placement_seed"),
    whole("batches_seed"),
    whole("init_seed"),
    real("learning_rate"),
    text("objective"),
    text("dtype"),
    whole("batch_size"),
    whole("max_length"),
    whole("steps_planned"),
    whole("steps"),
    text("status"),
    whole("best_step"),
    real("dev"),
    real("test"),
    whole("steps_to_90"),
    real("distance_from_init"),
    real("random_direction_rise"),
    real("uniform_guess"),
    real("majority_guess"),
    real("seconds"),
    whole("peak_bytes"),
    text("device"),
    text("host"),
    text("started"),
    text("spec"),
];

/// A record's row.
pub fn table_values(record: &RunRecord) -> Vec<TableValue> {
    let header = &record.header;
    let spec = &header.spec;
    let (seeds, summary) = (&spec.seeds, record.summary());
    let of_summary = |real: &dyn Fn(&apet_record::Summary) -> Option<f64>| {
        TableValue::Real(summary.and_then(real))
    };
    vec![
        header.run.as_str().into(),
        spec.model.as_str().into(),
        header.model.family.as_str().into(),
        header.model.parameters.into(),
        header.model.parameters_without_embeddings.into(),
        spec.task.name.as_str().into(),
        header.task.metric.name().into(),
        header.task.train_rows.into(),
        spec.method.name().into(),
        header.theta.method.as_str().into(),
        header.theta.trainable_parameters.into(),
        header.theta.requested_parameters.into(),
        header.theta.head.into(),
        seeds.placement.into(),
        seeds.batches.into(),
        seeds.init.into(),
        spec.optimizer.learning_rate.into(),
        spec.objective.name().into(),
        spec.dtype.name().into(),
        spec.train.batch_size.into(),
        spec.task.max_length.into(),
        spec.train.steps.into(),
        summary.map_or(TableValue::Whole(None), |s| s.steps.into()),
        record.status().name().into(),
        summary.map_or(TableValue::Whole(None), |s| s.best_step.into()),
        of_summary(&|s| s.dev),
        of_summary(&|s| s.test),
        TableValue::Whole(steps_to(0.9, record).map(|step| step as i64)),
        TableValue::Real(record.landscape().map(|found| found.norm)),
        TableValue::Real(record.landscape().and_then(|found| found.rise())),
        header.task.uniform_guess.into(),
        header.task.majority_guess.into(),
        of_summary(&|s| Some(s.seconds)),
        summary
            .and_then(|s| s.peak_bytes)
            .map_or(TableValue::Whole(None), Into::into),
        header.device.name.as_str().into(),
        header.device.host.as_str().into(),
        header.started.as_str().into(),
        TableValue::Text(canonical_json(spec).ok()),
    ]
}

/// The first evaluation at which dev has come a share of the way from the guess to its best: how fast a run converges.
/// None where its best is no better than a guess.
pub fn steps_to(share: f64, record: &RunRecord) -> Option<usize> {
    let guess = record
        .header
        .task
        .uniform_guess
        .max(record.header.task.majority_guess);
    let evals = record.evals("dev");
    let best = evals.iter().map(|eval| eval.score).reduce(f64::max)?;
    let wanted = guess + share * (best - guess);
    let first = evals.iter().find(|eval| eval.score >= wanted);
    first.filter(|_| best > guess).map(|eval| eval.step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;

    fn record(run: Run) -> RunRecord {
        RunRecord::parse(&run.text()).unwrap().remove(0)
    }

    #[test]
    fn a_row_has_a_value_of_the_right_kind_in_every_column() {
        for run in [
            Run::default(),
            Run {
                steps: 3,
                dev: Some(0.8),
                test: Some(0.7),
                ..Run::default()
            },
        ] {
            let row = table_values(&record(run));
            assert_eq!(row.len(), COLUMNS.len());
            for (value, column) in row.iter().zip(COLUMNS) {
                let kind = match value {
                    TableValue::Text(_) => ColumnKind::Text,
                    TableValue::Whole(_) => ColumnKind::Whole,
                    TableValue::Real(_) => ColumnKind::Real,
                };
                assert_eq!(kind, column.kind, "{}", column.name);
            }
        }
        let at = |name: &str| {
            COLUMNS
                .iter()
                .position(|column| column.name == name)
                .unwrap()
        };
        let row = table_values(&record(Run {
            steps: 3,
            test: Some(0.7),
            ..Run::default()
        }));
        assert_eq!(row[at("model")], "minilm-l6".into());
        assert_eq!(row[at("trainable_parameters")], 10_000u64.into());
        assert_eq!(row[at("test")], 0.7.into());
        assert_eq!(row[at("peak_bytes")], TableValue::Whole(None));
    }

    #[test]
    fn convergence_is_told_from_the_guess() {
        let mut record = record(Run::default());
        record.header.task.uniform_guess = 0.5;
        record.header.task.majority_guess = 0.5;
        record.lines.clear();
        let mut score = |step, score| {
            let eval = serde_json::json!({"step": step, "split": "dev", "metric": "accuracy", "score": score, "loss": 0.5, "rows": 9});
            record.lines.push(apet_record::Line::Eval(
                serde_json::from_value(eval).unwrap(),
            ));
        };
        // 90 % of the way from 0.5 to 0.9 is 0.86.
        for (step, value) in [(10, 0.6), (20, 0.85), (30, 0.87), (40, 0.9), (50, 0.7)] {
            score(step, value);
        }
        assert_eq!(steps_to(0.9, &record), Some(30));
        assert_eq!(steps_to(0.2, &record), Some(10));
        record.header.task.majority_guess = 0.9;
        assert_eq!(steps_to(0.9, &record), None);
    }
}
