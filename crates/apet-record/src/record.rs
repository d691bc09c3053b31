//! RunRecord: the results of a run, one JSON object for each line.
//!
//! ```text
//! {"kind":"header", ...}     once, first
//! {"kind":"step", ...}       every optimizer step
//! {"kind":"eval", ...}       every evaluation
//! {"kind":"note", ...}       a message to the reader (resumed, dev split drawn, ...)
//! {"kind":"landscape", ...}  before the summary, if the spec requests it
//! {"kind":"summary", ...}    once, last; a record without one was interrupted
//! ```
//! Unknown fields and lines survive a read and a write.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Header;

/// Version of the record's schema. Another major version is an error.
pub const RECORD_VERSION: &str = "1.1";

pub(crate) type Extra = Map<String, Value>;

/// One optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub step: usize,
    /// Mean loss of the step's rows before the update, nats.
    pub loss: f64,
    /// Learning rate of the update.
    #[serde(alias = "rate")]
    pub learning_rate: f64,
    /// Norm of theta's gradient before clipping.
    pub grad_norm: f64,
    /// Tokens of the step, without padding.
    pub tokens: u64,
    /// Milliseconds since the run (or its resumption) began.
    pub ms: f64,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    /// Number of steps before the evaluation.
    pub step: usize,
    /// `dev` or `test`.
    pub split: String,
    /// `accuracy`.
    pub metric: String,
    /// Score, 0 to 1.
    pub score: f64,
    /// Mean loss in nats, if known: another program's run may not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Rows scored.
    pub rows: usize,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A message to the reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Number of steps before the note.
    pub step: usize,
    /// One sentence.
    pub text: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The loss around a run's final theta.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Landscape {
    /// Number of training rows over which the loss is averaged.
    pub rows: usize,
    /// Distance of theta from its initial values to the best step.
    pub norm: f64,
    /// `[position, loss]` on the line from theta's initial values (position 0) to its best ones (position 1).
    #[serde(alias = "along")]
    pub init_to_best_loss: Vec<[f64; 2]>,
    /// For each random direction from the best values: `[position in lengths of that line, loss]`.
    #[serde(alias = "aside")]
    pub random_direction_loss: Vec<Vec<[f64; 2]>>,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Landscape {
    /// The loss at theta's best values.
    pub fn end(&self) -> Option<f64> {
        self.init_to_best_loss
            .iter()
            .find(|at| at[0] == 1.0)
            .map(|at| at[1])
    }

    /// The rise of the loss for a random step from the best theta as long as its distance from the initial values: the mean over
    /// directions. `None` without directions.
    pub fn rise(&self) -> Option<f64> {
        let last = self
            .random_direction_loss
            .iter()
            .flatten()
            .filter(|at| at[0].abs() == 1.0);
        let losses: Vec<f64> = last.map(|at| at[1]).collect();
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        (!losses.is_empty()).then_some(mean - self.end()?)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All steps, or an early stop by the spec's `patience`.
    Done,
    /// The user stopped it.
    Stopped,
    /// The loss became NaN; the best theta before that is kept.
    Diverged,
    /// No summary: the process or tab ended during the run.
    Unfinished,
}

impl Status {
    /// The name in a summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Diverged => "diverged",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Last line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How the run ended.
    pub status: Status,
    /// Number of steps.
    pub steps: usize,
    /// Step of the best dev score.
    pub best_step: usize,
    /// Best dev score.
    #[serde(default)]
    pub dev: Option<f64>,
    /// Test score of the best checkpoint, scored once.
    #[serde(default)]
    pub test: Option<f64>,
    /// Total seconds, without pauses.
    pub seconds: f64,
    /// Peak memory in bytes, including weights, if known: allocated on `cpu`,
    /// reserved by the allocator on a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// One sentence if the run did not end as planned.
    #[serde(default)]
    pub message: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One line of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// `kind: header`
    Header(Box<Header>),
    /// `kind: step`
    Step(Step),
    /// `kind: eval`
    Eval(Eval),
    /// `kind: note`
    Note(Note),
    /// `kind: landscape`
    Landscape(Landscape),
    /// `kind: summary`
    Summary(Summary),
    /// A line of a later minor version, kept unchanged.
    Other(Value),
}

impl Line {
    /// The line as JSON text, without the line break.
    pub fn to_json(&self) -> String {
        let (kind, value) = match self {
            Self::Header(x) => ("header", serde_json::to_value(x)),
            Self::Step(x) => ("step", serde_json::to_value(x)),
            Self::Eval(x) => ("eval", serde_json::to_value(x)),
            Self::Note(x) => ("note", serde_json::to_value(x)),
            Self::Landscape(x) => ("landscape", serde_json::to_value(x)),
            Self::Summary(x) => ("summary", serde_json::to_value(x)),
            Self::Other(value) => return value.to_string(),
        };
        let mut object = Map::new();
        object.insert("kind".into(), kind.into());
        if let Ok(Value::Object(fields)) = value {
            object.extend(fields);
        }
        Value::Object(object).to_string()
    }

    fn from_json(text: &str, number: usize) -> Result<Self, RecordError> {
        let wrong = |problem: String| RecordError::Line { number, problem };
        let mut value: Value = serde_json::from_str(text).map_err(|e| {
            // serde_json's line number is always 1, because it sees a single line.
            let reason = e.to_string().replace("line 1 column", "column");
            wrong(format!(
                "invalid JSON ({reason}), expected a line of a run record"
            ))
        })?;
        let kind = match value.get("kind").and_then(Value::as_str) {
            Some(kind) => kind.to_owned(),
            None => {
                return Err(wrong(
                    "no field \"kind\", expected a line of a run record".into(),
                ));
            }
        };
        if kind == "header" {
            check_version(&value, number)?;
        }
        let known = ["header", "step", "eval", "note", "landscape", "summary"];
        let known = known.contains(&kind.as_str());
        if !known {
            return Ok(Self::Other(value));
        }
        if let Value::Object(fields) = &mut value {
            fields.remove("kind");
        }
        fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
            serde_path_to_error::deserialize(value)
                .map_err(|e| format!("field \"{}\": {}", e.path(), e.inner()))
        }
        let line = match kind.as_str() {
            "header" => read(value).map(|h| Self::Header(Box::new(h))),
            "step" => read(value).map(Self::Step),
            "eval" => read(value).map(Self::Eval),
            "note" => read(value).map(Self::Note),
            "landscape" => read(value).map(Self::Landscape),
            _ => read(value).map(Self::Summary),
        };
        line.map_err(|problem| wrong(format!("{kind}: {problem}")))
    }
}

fn check_version(header: &Value, number: usize) -> Result<(), RecordError> {
    let found = header
        .get("record")
        .and_then(Value::as_str)
        .unwrap_or("none");
    let major = |v: &str| v.split('.').next().map(str::to_owned);
    if major(found) == major(RECORD_VERSION) {
        return Ok(());
    }
    Err(RecordError::Version {
        number,
        found: found.chars().take(20).collect(),
    })
}

/// A record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A line is not a line of a record.
    #[error("line {number}: {problem}")]
    Line {
        /// From 1.
        number: usize,
        /// What was found, what was expected.
        problem: String,
    },
    /// This version cannot read the record's schema.
    #[error(
        "line {number}: record version \"{found}\", this version of APET Lab reads {RECORD_VERSION}; open it with the version that wrote it"
    )]
    Version {
        /// From 1.
        number: usize,
        /// The version in the file.
        found: String,
    },
    /// No header came first.
    #[error(
        "line {number}: a {kind} line before any header, expected a record that starts with its header"
    )]
    NoHeader {
        /// From 1.
        number: usize,
        /// Kind of the line.
        kind: String,
    },
    /// The record is empty.
    #[error("no lines, expected a record that starts with its header")]
    Empty,
}

/// The results of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// The first line.
    pub header: Header,
    /// All other lines, in the order they were written.
    pub lines: Vec<Line>,
    /// Whether the last line is incomplete, because the process was killed.
    pub truncated: bool,
}

impl RunRecord {
    /// Reads the records of a JSONL text, each of which starts with its header.
    ///
    /// An invalid last line without a line break was truncated by a kill:
    /// it is dropped and `truncated` is set.
    ///
    /// # Errors
    /// Names the line, what was found and what was expected.
    pub fn parse(text: &str) -> Result<Vec<Self>, RecordError> {
        Self::read(text, |line| !line.trim().is_empty())
    }

    /// Like [`Self::parse`], but skips steps, which are most of a record.
    ///
    /// # Errors
    /// As [`Self::parse`], for the other lines.
    pub fn parse_without_steps(text: &str) -> Result<Vec<Self>, RecordError> {
        Self::read(text, |line| {
            !(line.trim().is_empty() || line.contains("\"kind\":\"step\""))
        })
    }

    fn read(text: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Self>, RecordError> {
        let mut records: Vec<Self> = Vec::new();
        let last = text.lines().count();
        for (i, line) in text.lines().enumerate() {
            if !wanted(line) {
                continue;
            }
            let number = i + 1;
            let line = match (Line::from_json(line, number), records.last_mut()) {
                (Ok(line), _) => line,
                (Err(RecordError::Line { .. }), Some(record))
                    if number == last && !text.ends_with('\n') =>
                {
                    record.truncated = true;
                    break;
                }
                (Err(error), _) => return Err(error),
            };
            match (line, records.last_mut()) {
                (Line::Header(header), _) => records.push(Self {
                    header: *header,
                    lines: Vec::new(),
                    truncated: false,
                }),
                (line, Some(record)) => record.lines.push(line),
                (line, None) => {
                    let kind = serde_json::from_str::<Value>(&line.to_json())
                        .ok()
                        .and_then(|v| v["kind"].as_str().map(|k| k.chars().take(20).collect()))
                        .unwrap_or_default();
                    return Err(RecordError::NoHeader { number, kind });
                }
            }
        }
        if records.is_empty() {
            return Err(RecordError::Empty);
        }
        Ok(records)
    }

    /// The record as JSONL, with a line break at the end.
    pub fn to_jsonl(&self) -> String {
        let mut text = Line::Header(Box::new(self.header.clone())).to_json();
        text.push('\n');
        for line in &self.lines {
            text.push_str(&line.to_json());
            text.push('\n');
        }
        text
    }

    /// The steps in order. If a resumed run repeated a step, the later line counts.
    pub fn steps(&self) -> Vec<&Step> {
        let steps = self.lines.iter().filter_map(|l| match l {
            Line::Step(s) => Some((s.step, s)),
            _ => None,
        });
        steps
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_values()
            .collect()
    }

    /// The evaluations on `split` in order of steps, later lines counting as in [`Self::steps`].
    pub fn evals(&self, split: &str) -> Vec<&Eval> {
        let evals = self.lines.iter().filter_map(|l| match l {
            Line::Eval(e) if e.split == split => Some((e.step, e)),
            _ => None,
        });
        evals
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_values()
            .collect()
    }

    /// The loss around the final theta, if measured.
    pub fn landscape(&self) -> Option<&Landscape> {
        self.lines.iter().rev().find_map(|line| match line {
            Line::Landscape(found) => Some(found),
            _ => None,
        })
    }

    /// The summary, unless the run has none or was resumed after it.
    pub fn summary(&self) -> Option<&Summary> {
        match self.lines.last() {
            Some(Line::Summary(s)) => Some(s),
            _ => None,
        }
    }

    /// How the run ended.
    pub fn status(&self) -> Status {
        self.summary().map_or(Status::Unfinished, |s| s.status)
    }

    /// Whether the header's id is the content hash of its spec: a record edited by hand is not.
    pub fn id_is_true(&self) -> bool {
        self.header.run == self.header.spec.id()
    }
}

/// The name of a record in a store: the run id and the device. A spec run on
/// two devices has two records.
///
/// ```
/// assert_eq!(apet_record::record_name("b69590d18286b867", "vulkan:0"), "b69590d18286b867-vulkan0");
/// ```
pub fn record_name(run: &str, device: &str) -> String {
    format!("{run}-{}", device.replace(':', ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceInfo, ModelInfo, RunSpec, SoftwareInfo, TaskInfo, ThetaInfo};
    use proptest::prelude::*;

    fn record() -> RunRecord {
        let spec = RunSpec::new("minilm-l6", "sst2");
        RunRecord {
            header: Header {
                record: RECORD_VERSION.into(),
                run: spec.id(),
                spec,
                model: ModelInfo::default(),
                theta: ThetaInfo::default(),
                task: TaskInfo::default(),
                device: DeviceInfo::default(),
                software: SoftwareInfo::default(),
                started: "2026-01-01T00:00:00Z".into(),
                extra: Extra::new(),
            },
            lines: vec![
                Line::Step(Step {
                    step: 1,
                    loss: 0.7,
                    learning_rate: 1e-3,
                    grad_norm: 2.0,
                    tokens: 300,
                    ms: 12.0,
                    extra: Extra::new(),
                }),
                Line::Eval(Eval {
                    step: 1,
                    split: "dev".into(),
                    metric: "accuracy".into(),
                    score: 0.5,
                    loss: Some(0.69),
                    rows: 10,
                    extra: Extra::new(),
                }),
            ],
            truncated: false,
        }
    }

    #[test]
    fn a_record_reads_back_equal() {
        let one = record();
        assert_eq!(
            RunRecord::parse(&one.to_jsonl()).unwrap(),
            std::slice::from_ref(&one)
        );
        assert!(one.id_is_true());
        assert_eq!(one.status(), Status::Unfinished);
    }

    #[test]
    fn what_a_later_version_wrote_survives() {
        let mut text = record().to_jsonl().replacen(
            "\"record\":\"1.1\"",
            "\"record\":\"1.7\",\"colour\":{\"a\":[1]}",
            1,
        );
        text.push_str("{\"kind\":\"energy\",\"joules\":3.5}\n");
        let read = RunRecord::parse(&text).unwrap();
        let written = read[0].to_jsonl();
        assert!(written.contains("\"colour\":{\"a\":[1]}") && written.contains("\"joules\":3.5"));
        assert_eq!(RunRecord::parse(&written).unwrap(), read);
    }

    #[test]
    fn a_record_of_version_1_0_reads_as_one_of_1_1() {
        let mut new = record();
        new.lines.push(Line::Landscape(Landscape {
            rows: 64,
            norm: 2.5,
            init_to_best_loss: vec![[0.0, 0.7], [1.0, 0.4]],
            random_direction_loss: vec![vec![[-1.0, 0.6], [1.0, 0.5]]],
            extra: Extra::new(),
        }));
        let names = [
            ("requested_parameters", "nominal"),
            ("trainable_parameters", "realised"),
            ("candidate_parameters", "pool"),
            ("init_to_best_loss", "along"),
            ("random_direction_loss", "aside"),
        ];
        let mut old = new.to_jsonl();
        for (new, old_name) in names {
            assert_eq!(old.matches(&format!("\"{new}\":")).count(), 1, "{new}");
            old = old.replace(&format!("\"{new}\":"), &format!("\"{old_name}\":"));
        }
        // A spec's own field of this name stays.
        let step = "\"learning_rate\":0.001,\"loss\"";
        assert_eq!(old.matches(step).count(), 1, "{old}");
        old = old.replace(step, "\"rate\":0.001,\"loss\"");
        assert_eq!(RunRecord::parse(&old).unwrap(), [new]);
    }

    #[test]
    fn a_killed_writer_leaves_a_readable_record() {
        let text = record().to_jsonl();
        for cut in 1..40 {
            let read = RunRecord::parse(&text[..text.len() - 1 - cut]).unwrap();
            assert!(read[0].truncated && read[0].lines.len() == 1, "cut {cut}");
        }
    }

    #[test]
    fn wrong_records_are_refused_in_one_sentence() {
        let problem = |text: &str| RunRecord::parse(text).unwrap_err().to_string();
        assert_eq!(
            problem(""),
            "no lines, expected a record that starts with its header"
        );
        assert!(problem("{}\n").starts_with("line 1: no field \"kind\""));
        assert!(problem("{\"kind\":\"step\",\"step\":1}\n").starts_with("line 1: step: "));
        let future = record()
            .to_jsonl()
            .replacen("\"record\":\"1.1\"", "\"record\":\"2.0\"", 1);
        assert!(problem(&future).starts_with("line 1: record version \"2.0\""));
        let text = record().to_jsonl();
        let headless = text.split_once('\n').unwrap().1;
        assert!(problem(headless).starts_with("line 1: a step line before any header"));
    }

    #[test]
    fn a_record_is_read_without_its_steps() {
        let mut whole = record();
        let note = Note {
            step: 1,
            text: "\"kind\":\"step\"".into(),
            extra: Extra::new(),
        };
        whole.lines.insert(1, Line::Note(note));
        let brief = RunRecord::parse_without_steps(&whole.to_jsonl()).unwrap();
        whole.lines.retain(|line| !matches!(line, Line::Step(_)));
        assert_eq!(brief, [whole]);
    }

    #[test]
    fn a_resumed_step_counts_once() {
        let mut r = record();
        let Line::Step(first) = r.lines[0].clone() else {
            panic!()
        };
        r.lines.push(Line::Step(Step { loss: 0.1, ..first }));
        assert_eq!(r.steps().len(), 1);
        assert_eq!(r.steps()[0].loss, 0.1);
    }

    proptest! {
        /// Arbitrary text never panics.
        #[test]
        fn rubbish_does_not_panic(text in "\\PC{0,200}") {
            let _ = RunRecord::parse(&text);
        }
    }
}
