//! The runs that are looked at together.

use std::collections::BTreeMap;

use apet_record::{MAX_SEED, RecordError, RunRecord, Seeds, content_id};
use serde::Serialize;

use super::comparison::{self, ComparisonError};
use super::row::Row;
use super::table::{self, TableError};

/// Records by key: the run id, `@`, the host, `:`, the device. One run done on two
/// devices is two records.
#[derive(Clone, Debug, Default)]
pub struct Study {
    entries: BTreeMap<String, Entry>,
}

/// A record with what is asked of it again and again.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) record: RunRecord,
    pub(crate) row: Row,
    /// As in [`crate::Group::setting`].
    pub(crate) setting: String,
}

/// What became of the records of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Records that were not there.
    pub added: usize,
    /// Records that took the place of an earlier or shorter one of the same run and device.
    pub replaced: usize,
    /// Records that are no later and not longer than the one that is there; it stays.
    pub unchanged: usize,
}

/// Why records cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StudyError {
    /// The text is no record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A field of a header has a value that no run writes.
    #[error("record {number}: {field}: {problem}")]
    Header {
        /// From 1, among the records of the text.
        number: usize,
        /// Path of the field.
        field: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// The text is another program's result and cannot be read as a record.
    #[error(transparent)]
    Comparison(#[from] ComparisonError),
    /// The text is a table, and one of its rows no run.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No record has this key.
    #[error("no record has the key or run id {key:?}")]
    Unknown {
        /// As it was asked for.
        key: String,
    },
}

impl Study {
    /// No records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the records of a text, as [`records`] reads them: all of them, or none where one is wrong.
    /// A record of the same run, host and device is replaced by one that was begun later, or has more lines.
    /// `source` is where the text came from, for [`Row::source`].
    ///
    /// # Errors
    /// One sentence: the line or record, the field, what was found and what was expected.
    pub fn add(&mut self, source: &str, text: &str) -> Result<Added, StudyError> {
        let records = records(text)?;
        for (i, record) in records.iter().enumerate() {
            check(i + 1, record)?;
        }
        let mut result = Added::default();
        for record in records {
            self.put(source, record, &mut result);
        }
        Ok(result)
    }

    /// Takes in a record that was read elsewhere.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn insert(&mut self, source: &str, record: RunRecord) -> Result<Added, StudyError> {
        check(1, &record)?;
        let mut result = Added::default();
        self.put(source, record, &mut result);
        Ok(result)
    }

    fn put(&mut self, source: &str, record: RunRecord, result: &mut Added) {
        let key = key(&record);
        // A rerun starts later, and has fewer lines until it catches up.
        let age = |record: &RunRecord| (record.header.started.clone(), record.lines.len());
        match self.entries.get(&key) {
            Some(old) if age(&old.record) >= age(&record) => {
                result.unchanged += 1;
                return;
            }
            Some(_) => result.replaced += 1,
            None => result.added += 1,
        }
        let row = Row::from_record(&key, source, &record);
        let setting = setting(&record);
        self.entries.insert(
            key,
            Entry {
                record,
                row,
                setting,
            },
        );
    }

    /// Drops the record of `key`, or every record of a run id. Says whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let keys: Vec<String> = self
            .found(key)
            .into_iter()
            .map(|(k, _)| k.to_owned())
            .collect();
        for key in &keys {
            self.entries.remove(key);
        }
        !keys.is_empty()
    }

    /// The record of `key`, or the first one of a run id.
    ///
    /// # Errors
    /// When there is none.
    pub fn record(&self, key: &str) -> Result<&RunRecord, StudyError> {
        let entry = self.found(key).first().map(|(_, entry)| &entry.record);
        entry.ok_or_else(|| StudyError::Unknown {
            key: key.chars().take(80).collect(),
        })
    }

    /// The runs table, in the order of the keys.
    pub fn rows(&self) -> Vec<Row> {
        self.each_row().cloned().collect()
    }

    /// The row of a key.
    pub(crate) fn row(&self, key: &str) -> Option<&Row> {
        Some(&self.entries.get(key)?.row)
    }

    /// Every row, in the order of the keys.
    pub(crate) fn each_row(&self) -> impl Iterator<Item = &Row> {
        self.entries.values().map(|entry| &entry.row)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// The entry of a key, else the entries of a run id.
    pub(crate) fn found(&self, key: &str) -> Vec<(&str, &Entry)> {
        match self.entries.get_key_value(key) {
            Some((key, entry)) => vec![(key, entry)],
            None => self
                .iter()
                .filter(|(_, entry)| entry.record.header.run == key)
                .collect(),
        }
    }
}

/// The records of a JSONL text, of a table's rows as JSON, or the one of a result of peft's method comparison.
///
/// # Errors
/// One sentence: the line or field, what was found and what was expected.
pub fn records(text: &str) -> Result<Vec<RunRecord>, StudyError> {
    if let Some(rows) = table::read(text) {
        return Ok(rows?);
    }
    match comparison::read(text) {
        Some(result) => Ok(vec![result?]),
        None => Ok(RunRecord::parse(text)?),
    }
}

/// Names a run among others: its id, `@`, the host, `:`, the device.
pub fn key(record: &RunRecord) -> String {
    let header = &record.header;
    format!(
        "{}@{}:{}",
        header.run, header.device.host, header.device.name
    )
}

/// Id of everything in the spec but the seeds, and of the weights.
fn setting(record: &RunRecord) -> String {
    let mut spec = record.header.spec.clone();
    spec.seeds = Seeds::default();
    // Strings and numbers: this can always be written as JSON.
    content_id(&(&spec, &record.header.model.weights_hash)).unwrap_or_default()
}

/// Refuses what no run wrote and what the page could not hold.
fn check(number: usize, record: &RunRecord) -> Result<(), StudyError> {
    let header = &record.header;
    let refuse = |field: &str, problem| {
        Err(StudyError::Header {
            number,
            field: field.into(),
            problem,
        })
    };
    let run = &header.run;
    if run.len() != 16 || !run.bytes().all(|b| b.is_ascii_hexdigit()) {
        let found: String = run.chars().take(20).collect();
        return refuse(
            "run",
            format!("found {found:?}, expected 16 hexadecimal digits"),
        );
    }
    if let Err(e) = header.spec.check() {
        return refuse(&format!("spec.{}", e.field), e.problem);
    }
    let counts = [
        ("model.parameters", header.model.parameters),
        (
            "theta.requested_parameters",
            header.theta.requested_parameters,
        ),
        (
            "theta.trainable_parameters",
            header.theta.trainable_parameters,
        ),
    ];
    for (field, count) in counts {
        if count > MAX_SEED {
            return refuse(field, format!("found {count}, expected at most 2^53 - 1"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
