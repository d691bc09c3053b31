//! Which runs are looked at, and which of their scores.

use std::collections::{BTreeMap, HashSet};

use apet_record::{RunRecord, Status};
use serde::{Deserialize, Serialize};

use super::entries::{Entry, Study};

/// The split whose score is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Best score on dev, on which the checkpoint was chosen.
    Dev,
    /// Score of the best checkpoint on test.
    #[default]
    Test,
}

/// Which runs a figure shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// A task by name; all where absent.
    pub task: Option<String>,
    /// A model by name; all where absent.
    pub model: Option<String>,
    /// The split whose score is shown.
    pub split: Split,
    /// Records by key; all where absent.
    pub runs: Option<Vec<String>>,
}

/// The score of a run that ended as planned.
pub(crate) fn score(record: &RunRecord, split: Split) -> Option<f64> {
    let summary = record.summary().filter(|s| s.status == Status::Done)?;
    let score = match split {
        Split::Dev => summary.dev,
        Split::Test => summary.test,
    };
    score.filter(|s| (-1.0..=1.0).contains(s))
}

impl Study {
    /// The asked runs, or all. One done on several devices counts once, with the first that ended as planned.
    pub(crate) fn once(&self, runs: Option<&[String]>) -> impl Iterator<Item = &Entry> {
        let mut once: BTreeMap<&String, &Entry> = BTreeMap::new();
        for entry in self.asked(runs) {
            let first = once.entry(&entry.record.header.run).or_insert(entry);
            if first.row.status != Status::Done {
                *first = entry;
            }
        }
        once.into_values()
    }

    /// The asked runs, or all, in the order of their keys.
    pub(crate) fn asked(&self, runs: Option<&[String]>) -> impl Iterator<Item = &Entry> {
        let asked: Option<HashSet<&str>> =
            runs.map(|runs| runs.iter().map(String::as_str).collect());
        let is_asked = move |(key, entry): &(&str, &Entry)| {
            let run = &entry.record.header.run;
            let among = |asked: &HashSet<_>| asked.contains(*key) || asked.contains(run.as_str());
            asked.as_ref().is_none_or(among)
        };
        self.iter().filter(is_asked).map(|(_, entry)| entry)
    }
}
