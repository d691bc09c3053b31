//! The runs that are looked at together.

use std::collections::{BTreeMap, HashSet};

use apet_record::{MAX_SEED, RecordError, RunRecord, Status};
use serde::Serialize;

use crate::figure::setting;
use crate::report::ReportInputs;
use crate::{
    ClaimResults, ComparisonError, ConvergenceStats, Curve, Figure, Filter, Paired, Placements,
    Row, TableError, Thresholds, comparison, optimised, paired, placements, table,
};

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

/// Why records can not be taken in, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StudyError {
    /// The text is no record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A field of a header can not be what a run wrote.
    #[error("record {number}: {field}: {problem}")]
    Header {
        /// From 1, among the records of the text.
        number: usize,
        /// Path of the field.
        field: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// The text is another program's result, and can not be a record.
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
        // A run that is made again begins later, and has fewer lines for a while.
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

    /// The curves of `keys` (keys or run ids) in that order, the loss smoothed as in
    /// [`crate::smoothed`]. Unknown keys have no curve.
    pub fn curves(&self, keys: &[String], smoothing: f64) -> Vec<Curve> {
        let entries = keys.iter().flat_map(|key| self.found(key));
        entries
            .map(|(key, entry)| Curve::from_entry(key, entry, smoothing))
            .collect()
    }

    /// Scores against the number of tuned parameters.
    pub fn score_against_count(&self, filter: &Filter) -> Figure {
        Figure::from_entries(self.iter(), filter)
    }

    /// From which counts APET is above its reference, and as good as full fine-tuning, by model and task; of `runs` (keys
    /// or run ids), or of all.
    pub fn thresholds(&self, runs: Option<&[String]>) -> Vec<Thresholds> {
        crate::answers::thresholds(self.once(runs))
    }

    /// How fast runs converged, how far theta went and how flat the loss is there, where that was measured; of `runs` (keys
    /// or run ids), or of all.
    pub fn convergence(&self, runs: Option<&[String]>) -> Vec<ConvergenceStats> {
        optimised::convergence(self.once(runs))
    }

    /// How much it matters where APET's parameters are, where placements were crossed with seeds; in `runs` (keys or run
    /// ids), or in all.
    pub fn placements(&self, runs: Option<&[String]>) -> Placements {
        placements::placements(self.once(runs))
    }

    /// What the runs say about the paper's four claims: `runs` (keys or run ids), or all.
    pub fn claims(&self, runs: Option<&[String]>) -> ClaimResults {
        ClaimResults::from_entries(self.once(runs))
    }

    /// The asked runs, or all. One done on several devices counts once, with the first that ended as planned.
    fn once(&self, runs: Option<&[String]>) -> impl Iterator<Item = &Entry> {
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
    fn asked(&self, runs: Option<&[String]>) -> impl Iterator<Item = &Entry> {
        let asked: Option<HashSet<&String>> = runs.map(|runs| runs.iter().collect());
        let is_asked = move |(key, entry): &(&String, &Entry)| {
            let run = &entry.record.header.run;
            let among = |asked: &HashSet<_>| asked.contains(*key) || asked.contains(run);
            asked.as_ref().is_none_or(among)
        };
        self.entries.iter().filter(is_asked).map(|(_, entry)| entry)
    }

    /// Every two models that share a task, a way to be tuned, and at least two seeds; in `runs` (keys or run ids), or in all.
    pub fn paired(&self, runs: Option<&[String]>) -> Vec<Paired> {
        paired::paired(self.asked(runs))
    }

    /// The report as Markdown: all scores, and what they say about the paper's four claims; of `runs` (keys or run ids), or
    /// of all.
    pub fn report(&self, name: &str, about: &str, runs: Option<&[String]>) -> String {
        let figure = self.score_against_count(&Filter {
            runs: runs.map(<[String]>::to_vec),
            ..Filter::default()
        });
        crate::report::report(
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

    fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// The entry of a key, else the entries of a run id.
    fn found(&self, key: &str) -> Vec<(&str, &Entry)> {
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
mod tests {
    use super::*;
    use crate::fixture::Run;
    use proptest::prelude::*;

    fn study(runs: &[Run]) -> Study {
        let mut study = Study::new();
        for run in runs {
            study.add("test", &run.text()).unwrap();
        }
        study
    }

    #[test]
    fn a_longer_record_of_the_same_run_and_device_replaces() {
        let run = Run {
            steps: 3,
            ..Run::default()
        };
        let mut study = Study::new();
        let long = run.text();
        let short: String = long.split_inclusive('\n').take(3).collect();
        let counts = |a: Added| [a.added, a.replaced, a.unchanged];
        assert_eq!(counts(study.add("a", &short).unwrap()), [1, 0, 0]);
        assert_eq!(counts(study.add("b", &long).unwrap()), [0, 1, 0]);
        assert_eq!(counts(study.add("c", &short).unwrap()), [0, 0, 1]);
        assert_eq!(study.rows()[0].source, "b");
        let elsewhere = Run {
            host: "browser",
            ..run
        };
        assert_eq!(
            counts(study.add("d", &elsewhere.text()).unwrap()),
            [1, 0, 0]
        );
        let keys: Vec<String> = study.rows().into_iter().map(|r| r.key).collect();
        let id = elsewhere.spec().id();
        assert_eq!(
            keys,
            [format!("{id}@browser:cpu"), format!("{id}@native:cpu")]
        );
    }

    #[test]
    fn a_run_that_is_made_again_replaces_what_it_was() {
        let long = Run::default().text();
        let at = "\"started\":\"";
        let (head, rest) = long.split_once(at).unwrap();
        let (_, rest) = rest.split_once('"').unwrap();
        let begun = |day: &str| format!("{head}{at}2030-01-{day}T00:00:00Z\"{rest}");
        let header = begun("02").lines().next().unwrap().to_owned();
        let mut study = Study::new();
        study.add("server", &begun("01")).unwrap();
        assert_eq!(study.rows()[0].status, Status::Done);
        assert_eq!(study.add("server", &header).unwrap().replaced, 1);
        assert_eq!(study.rows()[0].status, Status::Unfinished);
        assert_eq!(study.add("server", &begun("01")).unwrap().unchanged, 1);
        assert_eq!(study.add("server", &begun("02")).unwrap().replaced, 1);
    }

    #[test]
    fn a_report_is_of_the_runs_that_are_asked_for() {
        let other = Run {
            model: "elsewhere",
            ..Run::default()
        };
        let study = study(&[Run::default(), other]);
        let key = key(study.record(&Run::default().spec().id()).unwrap());
        let all = study.report("x", "y", None);
        let one = study.report("x", "y", Some(&[key]));
        assert!(all.contains("elsewhere"));
        assert!(!one.contains("elsewhere") && one.contains(Run::default().model));
    }

    #[test]
    fn records_are_found_by_key_and_by_run_id() {
        let (a, b) = (
            Run::default(),
            Run {
                seed: 2,
                ..Run::default()
            },
        );
        let also_a = Run {
            device: "wgpu",
            ..a
        };
        let mut study = study(&[a, b, also_a]);
        let id = a.spec().id();
        assert_eq!(study.curves(std::slice::from_ref(&id), 0.0).len(), 2);
        assert_eq!(
            study
                .curves(&[format!("{id}@native:wgpu"), "x".into()], 0.0)
                .len(),
            1
        );
        assert_eq!(study.record(&id).unwrap().header.device.name, "cpu");
        assert!(study.remove(&format!("{id}@native:cpu")));
        assert_eq!(study.record(&id).unwrap().header.device.name, "wgpu");
        assert!(study.remove(&id) && !study.remove(&id));
        assert_eq!(study.rows().len(), 1);
        assert_eq!(
            study.record(&id).unwrap_err().to_string(),
            format!("no record has the key or run id {id:?}")
        );
    }

    #[test]
    fn a_run_counts_once_where_it_ended() {
        let stopped = Run {
            status: Status::Stopped,
            device: "cpu",
            ..Run::default()
        };
        let done = Run {
            device: "wgpu",
            ..Run::default()
        };
        let answers = study(&[stopped, done]).claims(None);
        assert_eq!((answers.runs, answers.left_out), (1, 0));
        let none = study(&[done]).claims(Some(&["0000000000000000".into()]));
        assert_eq!((none.runs, none.left_out), (0, 0));
    }

    #[test]
    fn a_record_survives_the_study() {
        let text = Run::default().text();
        let study = study(&[Run::default()]);
        let record = study.record(&Run::default().spec().id()).unwrap();
        assert_eq!(record.to_jsonl(), text);
    }

    #[test]
    fn a_wrong_record_adds_nothing() {
        let good = Run::default().text();
        let run = Run::default().spec().id();
        let problem = |wrong: String| {
            let mut study = Study::new();
            let text = format!("{good}{wrong}");
            let problem = study.add("x", &text).unwrap_err().to_string();
            assert!(study.rows().is_empty());
            problem
        };
        assert_eq!(
            problem(good.replace(&format!("\"run\":\"{run}\""), "\"run\":\"../../etc\"")),
            "record 2: run: found \"../../etc\", expected 16 hexadecimal digits"
        );
        assert_eq!(
            problem(good.replace(
                "\"trainable_parameters\":10000",
                "\"trainable_parameters\":18446744073709551615"
            )),
            "record 2: theta.trainable_parameters: found 18446744073709551615, expected at most 2^53 - 1"
        );
        assert_eq!(
            problem(good.replace("\"max_length\":128", "\"max_length\":1")),
            "record 2: spec.task.max_length: found 1, expected at least 3 ([CLS], one token, [SEP])"
        );
        assert!(problem("{\"kind\":\"step\"}\n".into()).contains(": step: "));
    }

    proptest! {
        /// Any text is refused or read, and whatever is read can be shown.
        #[test]
        fn rubbish_does_not_panic(
            lines in prop::collection::vec(0usize..12, 0..8),
            cut in any::<prop::sample::Index>(),
            put in "[\"{}:,0-9a-z]{0,4}",
        ) {
            let whole = Run { steps: 8, ..Run::default() }.text();
            let whole: Vec<&str> = whole.split_inclusive('\n').collect();
            let mut text: String = lines.iter().filter_map(|i| whole.get(*i)).copied().collect();
            if !text.is_empty() {
                let at = cut.index(text.len());
                text.replace_range(at..at, &put);
            }
            let mut study = Study::new();
            if study.add("x", &text).is_ok() {
                let keys: Vec<String> = study.rows().into_iter().map(|r| r.key).collect();
                prop_assert_eq!(study.curves(&keys, 0.9).len(), keys.len());
                let figure = study.score_against_count(&Filter::default());
                prop_assert!(figure.groups.iter().all(|g| (0.0..=1.0).contains(&g.mean)));
            }
        }
    }
}
