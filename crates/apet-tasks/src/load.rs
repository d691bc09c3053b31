//! Loads a task from the files of its splits.

use std::collections::{HashMap, HashSet};

use apet_record::{Metric, Stream, TaskSpec};

use crate::def::{TaskDef, builtin};
use crate::error::TaskError;
use crate::labels::{LabelValue, Labels};
use crate::read::{self, CellValue, ColumnRequest, RawRow, SplitFile};
use crate::task::{Answer, Example, Task};

/// The files of a task; a split can have several, which are concatenated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitFiles {
    /// Rows for training.
    pub train: Vec<SplitFile>,
    /// Rows on which the best step is chosen; drawn from train if empty.
    pub dev: Vec<SplitFile>,
    /// Rows scored once at the end; drawn from dev if empty or without labels.
    pub test: Vec<SplitFile>,
}

/// The name of a split in errors: that of its first file.
fn name(files: &[SplitFile]) -> &str {
    files.first().map_or("train", |file| &file.name)
}

/// The rows of each file.
fn rows(files: &[SplitFile], wanted: &[ColumnRequest<'_>]) -> Result<Vec<Vec<RawRow>>, TaskError> {
    files.iter().map(|file| read::rows(file, wanted)).collect()
}

/// Loads the task of `spec`: a built-in task, or a user's own, whose labels are the distinct values of train.
///
/// A missing split is drawn by a fixed stream, the same for every seed: a tenth of train becomes dev; half of dev
/// becomes test if test is absent or has no labels (missing or -1). `split_note` says so. `spec.train_rows` rows of
/// train, or `spec.shots` of each class, are drawn by `batches_seed`; dev and test use their first rows.
/// If answers are texts, rows of dev or test with the same question become one row with all their answers.
///
/// # Errors
/// Names file, row, column, what was found and what was expected.
pub fn load(spec: &TaskSpec, batches_seed: u64, files: SplitFiles) -> Result<Task, TaskError> {
    let def = builtin(&spec.name);
    let columns = Columns::new(spec, def)?;
    let metric = metric(spec, def)?;
    let mut notes = Vec::new();

    let of_train = rows(&files.train, &columns.wanted(true))?;
    let label_at = columns.label_at();
    let labels = match def {
        _ if metric.of_texts() => Labels::Texts,
        Some(def) => Labels::Known(def.labels.iter().map(|&l| l.into()).collect()),
        None if !spec.labels.is_empty() => Labels::Known(spec.labels.clone()),
        None => Labels::from_rows(name(&files.train), columns.label, &of_train, label_at)?,
    };
    check_labels_and_prompt(spec, def, &columns, &labels)?;
    if metric == Metric::F1 && labels.names().len() != 2 {
        let found = labels.names().len();
        return Err(TaskError::Field {
            field: "task.metric",
            problem: format!(
                "found \"f1\" for {found} classes, expected 2, because it is the F1 of the second one; matthews and accuracy allow any number of classes"
            ),
        });
    }
    let reader = ExampleReader {
        columns,
        labels,
        drops_unlabelled: def.is_some_and(|d| d.drops_unlabelled),
    };
    let mut train = reader.labelled("train", &files.train, of_train, &mut notes)?;

    let mut dev = if files.dev.is_empty() {
        let (rest, dev) = draw_split(train, 10, name(&files.train), "dev")?;
        notes.push(format!("no dev split: {} rows drawn from train", dev.len()));
        train = rest;
        dev
    } else {
        let of_dev = rows(&files.dev, &reader.columns.wanted(true))?;
        reader.labelled("dev", &files.dev, of_dev, &mut notes)?
    };
    let of_test = rows(&files.test, &reader.columns.wanted(false))?;
    let has_labels = of_test
        .iter()
        .flatten()
        .any(|r| reader.labels.read(&r.cells[label_at]) != LabelValue::Unlabelled);
    let test = has_labels
        .then(|| reader.labelled("test", &files.test, of_test, &mut notes))
        .transpose()?;
    let mut test = match test {
        Some(test) => test,
        None => {
            let source = match files.dev.is_empty() {
                true => &files.train,
                false => &files.dev,
            };
            let (rest, test) = draw_split(dev, 2, name(source), "test")?;
            let why = match files.test.is_empty() {
                true => "no test split",
                false => "test has no labels",
            };
            notes.push(format!("{why}: {} rows drawn from dev", test.len()));
            dev = rest;
            test
        }
    };

    if metric.of_texts() {
        for (split, rows) in [("dev", &mut dev), ("test", &mut test)] {
            let all = rows.len();
            *rows = merge_questions(std::mem::take(rows));
            if rows.len() < all {
                let asked = rows.len();
                notes.push(format!(
                    "{split}: {all} rows have {asked} different questions; each is asked once"
                ));
            }
        }
    }
    for (split, asked, rows) in [
        ("train", spec.train_rows, train.len()),
        ("dev", spec.dev_rows, dev.len()),
        ("test", spec.test_rows, test.len()),
    ] {
        if asked > rows {
            notes.push(format!("{split}: {asked} rows requested, all {rows} used"));
        }
    }
    if spec.train_rows > 0 {
        let mut stream = Stream::new("train rows", batches_seed);
        train = draw(train, spec.train_rows, &mut stream).1;
    }
    if spec.shots > 0 {
        let mut stream = Stream::new("shots", batches_seed);
        train = draw_shots(train, spec.shots, &mut stream);
        for (class, label) in reader.labels.names().iter().enumerate() {
            let right = train
                .iter()
                .filter(|row| row.answer == Answer::Class(class));
            let (asked, rows) = (spec.shots, right.count());
            if rows < asked {
                notes.push(format!(
                    "train: {asked} shots requested, {rows} rows of {label} used"
                ));
            }
        }
    }
    if spec.dev_rows > 0 {
        dev.truncate(spec.dev_rows);
    }
    if spec.test_rows > 0 {
        test.truncate(spec.test_rows);
    }
    Ok(Task {
        name: spec.name.clone(),
        labels: reader.labels.names().to_vec(),
        metric,
        words: spec.words,
        label_words: spec.label_words.clone(),
        template: spec.template.clone(),
        target_length: target_length(spec),
        train,
        dev,
        test,
        columns: (
            reader.columns.text.to_owned(),
            reader.columns.pair.map(str::to_owned),
        ),
        split_note: notes.join("; "),
    })
}

/// Maximum length in tokens of an answer that is a text: the spec's, else the built-in task's, else 64.
pub fn target_length(spec: &TaskSpec) -> usize {
    match spec.target_length {
        0 => builtin(&spec.name).map_or(64, |def| def.target_length),
        length => length,
    }
}

/// The spec's metric, else the built-in task's, else accuracy.
fn metric(spec: &TaskSpec, def: Option<&TaskDef>) -> Result<Metric, TaskError> {
    let own = def.map(|def| def.metric);
    let metric = spec.metric.or(own).unwrap_or_default();
    match own {
        Some(own) if own.of_texts() != metric.of_texts() => Err(TaskError::Field {
            field: "task.metric",
            problem: format!(
                "found \"{}\", expected a metric of {}, because the answers of {} are",
                metric.name(),
                if own.of_texts() { "texts" } else { "classes" },
                spec.name
            ),
        }),
        _ => Ok(metric),
    }
}

/// Checks that labels, label words and template fit the task.
fn check_labels_and_prompt(
    spec: &TaskSpec,
    def: Option<&TaskDef>,
    columns: &Columns<'_>,
    labels: &Labels,
) -> Result<(), TaskError> {
    let refuse = |field, problem| Err(TaskError::Field { field, problem });
    if !spec.labels.is_empty() {
        if let Some(def) = def {
            let problem = format!(
                "found labels, expected none, because {} has its own",
                def.name
            );
            return refuse("task.labels", problem);
        }
        if *labels == Labels::Texts {
            let problem = "found labels, expected none, because task.metric makes answers texts";
            return refuse("task.labels", problem.into());
        }
    }
    let (words, classes) = (spec.label_words.len(), labels.names().len());
    if words > 0 && words != classes {
        let problem = format!("found {words}, expected {classes}, one for each class");
        return refuse("task.label_words", problem);
    }
    let asks_pair = spec.template.as_ref().is_some_and(|t| t.contains("{pair}"));
    if asks_pair && columns.pair.is_none() {
        let problem = "found {pair} without task.text_pair_column, expected both or neither";
        return refuse("task.template", problem.into());
    }
    Ok(())
}

/// Merges rows with the same question into the first of them, with the answers of all.
fn merge_questions(rows: Vec<Example>) -> Vec<Example> {
    let mut locations = HashMap::new();
    let mut joined: Vec<Example> = Vec::new();
    for row in rows {
        let asked = (row.text.clone(), row.pair.clone());
        let location = *locations.entry(asked).or_insert(joined.len());
        match joined.get_mut(location).map(|first| &mut first.answer) {
            Some(Answer::Texts(texts)) => {
                if let Answer::Texts(more) = row.answer {
                    texts.extend(more);
                }
            }
            _ => joined.push(row),
        }
    }
    joined
}

/// `k` rows of each class, or of all rows if there are no classes, in their original order.
fn draw_shots(rows: Vec<Example>, k: usize, stream: &mut Stream) -> Vec<Example> {
    let mut of_class: Vec<Vec<usize>> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let class = row.answer.class().unwrap_or(0);
        if of_class.len() <= class {
            of_class.resize(class + 1, Vec::new());
        }
        of_class[class].push(at);
    }
    let drawn = of_class.into_iter().flat_map(|at| draw(at, k, stream).1);
    let drawn: HashSet<usize> = drawn.collect();
    let rows = rows.into_iter().enumerate();
    rows.filter(|(at, _)| drawn.contains(at))
        .map(|(_, row)| row)
        .collect()
}

/// One in `part` rows, at least one, drawn by the fixed stream: (the rest, the drawn).
fn draw_split(
    rows: Vec<Example>,
    part: usize,
    file: &str,
    split: &str,
) -> Result<(Vec<Example>, Vec<Example>), TaskError> {
    if rows.len() < 2 {
        let found = rows.len();
        return Err(TaskError::file(
            file,
            format!(
                "found {found} rows, expected at least 2, because {split} is drawn from them; add rows or a {split} file"
            ),
        ));
    }
    let drawn = (rows.len() / part).max(1);
    Ok(draw(rows, drawn, &mut Stream::new("dev split", 0)))
}

/// `k` rows drawn from `rows`: (the rest, the drawn), each in the original order.
fn draw<T>(rows: Vec<T>, k: usize, stream: &mut Stream) -> (Vec<T>, Vec<T>) {
    let mut positions = stream
        .sample(rows.len() as u64, k as u64)
        .into_iter()
        .peekable();
    let (mut rest, mut drawn) = (Vec::new(), Vec::with_capacity(k.min(rows.len())));
    for (i, row) in rows.into_iter().enumerate() {
        if positions.next_if_eq(&(i as u64)).is_some() {
            drawn.push(row);
        } else {
            rest.push(row);
        }
    }
    (rest, drawn)
}

/// The columns of texts and label.
struct Columns<'a> {
    text: &'a str,
    pair: Option<&'a str>,
    label: &'a str,
}

impl<'a> Columns<'a> {
    /// The spec's columns, else the built-in task's, else `text` and `label`.
    fn new(spec: &'a TaskSpec, def: Option<&'static TaskDef>) -> Result<Self, TaskError> {
        let text = spec
            .text_column
            .as_deref()
            .or(def.map(|d| d.text))
            .unwrap_or("text");
        let pair = spec
            .text_pair_column
            .as_deref()
            .or(def.and_then(|d| d.pair));
        let label = spec
            .label_column
            .as_deref()
            .or(def.map(|d| d.label))
            .unwrap_or("label");
        let twice = |field, column: &str, other| TaskError::Field {
            field,
            problem: format!(
                "found \"{column}\", which is also the column of {other}, expected a separate column"
            ),
        };
        if pair == Some(text) {
            return Err(twice("task.text_pair_column", text, "the first text"));
        }
        if label == text || pair == Some(label) {
            return Err(twice("task.label_column", label, "a text"));
        }
        Ok(Self { text, pair, label })
    }

    /// The columns in the order of cells: text, pair if any, label.
    fn wanted(&self, label_required: bool) -> Vec<ColumnRequest<'a>> {
        let column = |name, field, required| ColumnRequest {
            name,
            field,
            required,
        };
        let mut wanted = vec![column(self.text, "task.text_column", true)];
        wanted.extend(self.pair.map(|p| column(p, "task.text_pair_column", true)));
        wanted.push(column(self.label, "task.label_column", label_required));
        wanted
    }

    fn label_at(&self) -> usize {
        1 + usize::from(self.pair.is_some())
    }
}

/// Turns rows into examples.
struct ExampleReader<'a> {
    columns: Columns<'a>,
    labels: Labels,
    drops_unlabelled: bool,
}

impl ExampleReader<'_> {
    /// The examples of a split; rows without a label are dropped if the task says so, and are errors otherwise.
    fn labelled(
        &self,
        split: &str,
        files: &[SplitFile],
        rows: Vec<Vec<RawRow>>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Example>, TaskError> {
        let all = rows.iter().map(Vec::len).sum();
        let mut examples = Vec::with_capacity(all);
        for (file, rows) in files.iter().zip(rows) {
            for row in rows {
                examples.extend(self.example(file, row)?);
            }
        }
        let dropped = all - examples.len();
        if examples.is_empty() {
            return Err(TaskError::file(
                name(files),
                format!("found {all} rows without a label, expected at least 1 with one"),
            ));
        }
        if dropped > 0 {
            notes.push(format!("{split}: {dropped} rows without a label dropped"));
        }
        Ok(examples)
    }

    /// The example of a row; `None` if the row has no label and the task drops such rows.
    fn example(&self, file: &SplitFile, row: RawRow) -> Result<Option<Example>, TaskError> {
        let location = row.location;
        let refuse = |column: &str, cell: &CellValue, expected: String| {
            Err(TaskError::Cell {
                file: file.name.clone(),
                location,
                column: column.into(),
                found: cell.shown(),
                expected,
            })
        };
        let mut cells = row.cells.into_iter();
        let mut next = || cells.next().unwrap_or(CellValue::Absent);
        let text = match next() {
            CellValue::Text(text) => text,
            other => return refuse(self.columns.text, &other, "text".into()),
        };
        let pair = match self.columns.pair.map(|column| (column, next())) {
            None => None,
            Some((_, CellValue::Text(text))) => Some(text),
            Some((column, other)) => return refuse(column, &other, "text".into()),
        };
        let label = next();
        match self.labels.read(&label) {
            LabelValue::Answer(answer) => Ok(Some(Example { text, pair, answer })),
            LabelValue::Unlabelled if self.drops_unlabelled => Ok(None),
            _ => refuse(self.columns.label, &label, self.labels.expected()),
        }
    }
}

#[cfg(test)]
mod tests;
