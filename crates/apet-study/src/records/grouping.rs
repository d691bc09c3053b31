//! The runs table by groups: whatever fields one likes, with means over the runs of a group.

use std::collections::{BTreeMap, HashSet};

use apet_record::Status;
use serde::{Deserialize, Serialize};

use super::entries::Study;
use super::row::Row;
use crate::stats::sample::Mean;

/// A field that runs are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Model by name.
    Model,
    /// Task by name.
    Task,
    /// Method by name.
    Method,
    /// Tuned parameters.
    Count,
    /// Seeds.
    Seeds,
    /// Learning rate.
    LearningRate,
    /// How it ended.
    Status,
    /// `native` or `browser`, and the device.
    Device,
    /// Where the record came from.
    Source,
}

/// A value of a field, numbers in the order of numbers.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub enum GroupValue {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl By {
    fn value(self, row: &Row) -> GroupValue {
        let text = |text: &str| GroupValue::Text(text.into());
        match self {
            Self::Model => text(&row.model),
            Self::Task => text(&row.task),
            Self::Method => text(&row.method),
            Self::Count => GroupValue::Number(row.count as f64),
            Self::Seeds => text(&row.seeds),
            Self::LearningRate => GroupValue::Number(row.learning_rate),
            Self::Status => text(row.status.name()),
            Self::Device => GroupValue::Text(format!("{} {}", row.host, row.device)),
            Self::Source => text(&row.source),
        }
    }
}

/// Runs with the same values of some fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSummary {
    /// The values of the fields.
    pub values: Vec<GroupValue>,
    /// Runs.
    pub n: usize,
    /// Those of them that ended as planned.
    pub done: usize,
    /// Best dev scores of those.
    pub dev: Option<Mean>,
    /// Their test scores.
    pub test: Option<Mean>,
    /// Their seconds.
    pub seconds: Option<Mean>,
    /// Keys of the records.
    pub runs: Vec<String>,
}

impl Study {
    /// The runs with these keys, or all, by fields: in the order of the values.
    pub fn grouped(&self, by: &[By], runs: Option<&[String]>) -> Vec<GroupSummary> {
        let asked: Option<HashSet<&String>> = runs.map(|runs| runs.iter().collect());
        let is_asked = |row: &&Row| asked.as_ref().is_none_or(|asked| asked.contains(&row.key));
        // Equal values have equal texts, and no value is NaN.
        let mut found: BTreeMap<Vec<String>, (Vec<GroupValue>, Vec<&Row>)> = BTreeMap::new();
        for row in self.each_row().filter(is_asked) {
            let values: Vec<GroupValue> = by.iter().map(|by| by.value(row)).collect();
            let key = values.iter().map(|value| format!("{value:?}")).collect();
            let (_, rows) = found.entry(key).or_insert_with(|| (values, Vec::new()));
            rows.push(row);
        }
        let mut groups: Vec<GroupSummary> = found.into_values().map(summarise).collect();
        groups.sort_by(|a, b| {
            let order = a.values.partial_cmp(&b.values);
            order.unwrap_or(std::cmp::Ordering::Equal)
        });
        groups
    }
}

fn summarise((values, rows): (Vec<GroupValue>, Vec<&Row>)) -> GroupSummary {
    let done = || {
        rows.iter()
            .copied()
            .filter(|row| row.status == Status::Done)
    };
    let mean = |of: &dyn Fn(&Row) -> Option<f64>| {
        Mean::from_values(&done().filter_map(of).collect::<Vec<_>>())
    };
    GroupSummary {
        values,
        n: rows.len(),
        done: done().count(),
        dev: mean(&|row| row.dev),
        test: mean(&|row| row.test),
        seconds: mean(&|row| row.seconds),
        runs: rows.iter().map(|row| row.key.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;

    #[test]
    fn groups_have_the_means_of_their_runs() {
        let mut study = Study::new();
        for (count, seed, test, status) in [
            (1000, 1, 0.6, Status::Done),
            (1000, 2, 0.8, Status::Done),
            (1000, 3, 0.1, Status::Stopped),
            (20, 1, 0.5, Status::Done),
        ] {
            let run = Run {
                count,
                seed,
                test: Some(test),
                status,
                ..Run::default()
            };
            study.add("x", &run.text()).unwrap();
        }
        let groups = study.grouped(&[By::Method, By::Count], None);
        let apet = || GroupValue::Text("apet".into());
        assert_eq!(groups[0].values, [apet(), GroupValue::Number(20.0)]);
        assert_eq!(groups[1].values, [apet(), GroupValue::Number(1000.0)]);
        assert_eq!((groups[1].n, groups[1].done), (3, 2));
        assert!((groups[1].test.unwrap().mean - 0.7).abs() < 1e-12);
        assert_eq!(groups[0].test.unwrap().low, None);
        let some = study.grouped(&[By::Task], Some(&groups[0].runs));
        assert_eq!((some.len(), some[0].n), (1, 1));
        assert_eq!(study.grouped(&[], None)[0].n, 4);
        assert_eq!(Study::new().grouped(&[By::Task], None), []);
    }
}
