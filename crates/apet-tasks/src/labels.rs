//! Turns values of the label column into answers: class numbers or texts.

use std::collections::BTreeSet;

use crate::error::{TaskError, quote_list};
use crate::read::{CellValue, RawRow};
use crate::task::Answer;

/// A column with more distinct values than this does not hold classes.
const MOST_CLASSES: usize = 1_000;

/// The meaning of a value in the label column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LabelValue {
    /// The correct answer.
    Answer(Answer),
    /// Missing, or -1 as Hugging Face writes it: the row has no label.
    Unlabelled,
    /// Not a label of the task.
    Outside,
}

/// The label map of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    /// Given by the task: a value is a class name or a class number.
    Known(Vec<String>),
    /// The names found in train.
    Names(Vec<String>),
    /// The numbers found in train, in their shortest form; values are compared as numbers.
    Numbers(Vec<String>),
    /// Answers are texts: a value is a text or a list of texts.
    Texts,
}

impl Labels {
    /// The distinct values of train, sorted as numbers if all are numbers, otherwise as text.
    ///
    /// # Errors
    /// If there are fewer than 2 or more than 1,000 classes.
    pub(crate) fn from_rows(
        file: &str,
        column: &str,
        rows: &[Vec<RawRow>],
        at: usize,
    ) -> Result<Self, TaskError> {
        let texts: BTreeSet<String> = rows
            .iter()
            .flatten()
            .filter_map(|r| cell_text(&r.cells[at]))
            .collect();
        let (least, most) = (2, MOST_CLASSES);
        if texts.len() < least || texts.len() > most {
            let (n, found) = (texts.len(), quote_list(&texts));
            return Err(TaskError::file(
                file,
                format!(
                    "column \"{column}\": found {n} different labels ({found}), expected {least} to {most}; set task.label_column to the column that holds the classes"
                ),
            ));
        }
        let numbers: Option<Vec<f64>> = texts.iter().map(|t| number(t)).collect();
        Ok(match numbers {
            Some(mut numbers) => {
                numbers.sort_by(f64::total_cmp);
                numbers.dedup();
                Self::Numbers(numbers.into_iter().map(canonical_number).collect())
            }
            None => Self::Names(texts.into_iter().collect()),
        })
    }

    /// Class names in label order; empty if answers are texts.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Known(names) | Self::Names(names) | Self::Numbers(names) => names,
            Self::Texts => &[],
        }
    }

    /// The meaning of `cell`.
    pub(crate) fn read(&self, cell: &CellValue) -> LabelValue {
        if let (Self::Texts, CellValue::Texts(texts)) = (self, cell) {
            let texts = texts.iter().map(|text| text.trim());
            let texts: Vec<String> = texts.filter(|t| !t.is_empty()).map(Into::into).collect();
            return match texts.is_empty() {
                true => LabelValue::Unlabelled,
                false => LabelValue::Answer(Answer::Texts(texts)),
            };
        }
        let Some(text) = cell_text(cell) else {
            return match cell {
                CellValue::Other(_) | CellValue::Texts(_) => LabelValue::Outside,
                _ => LabelValue::Unlabelled,
            };
        };
        let class_of = |text: &str| self.names().iter().position(|n| n == text);
        let class = match self {
            Self::Known(names) => class_of(&text).or_else(|| {
                let class = number(&text)?;
                (0..names.len()).find(|&i| i as f64 == class)
            }),
            Self::Names(_) => class_of(&text),
            Self::Numbers(_) => number(&text).and_then(|x| class_of(&canonical_number(x))),
            Self::Texts => return LabelValue::Answer(Answer::Texts(vec![text])),
        };
        match class {
            Some(class) => LabelValue::Answer(Answer::Class(class)),
            None if number(&text) == Some(-1.0) => LabelValue::Unlabelled,
            None => LabelValue::Outside,
        }
    }

    /// The valid values of the label column, for errors.
    pub(crate) fn expected(&self) -> String {
        let names = quote_list(self.names());
        match self {
            Self::Known(all) => format!("0 to {} or one of {names}", all.len().saturating_sub(1)),
            Self::Texts => "a text, or a list of correct texts".into(),
            _ => format!("a label of the training split: {names}"),
        }
    }
}

/// The value as text; `None` if it is missing or not a scalar.
fn cell_text(cell: &CellValue) -> Option<String> {
    match cell {
        CellValue::Text(text) if text.trim().is_empty() => None,
        CellValue::Text(text) => Some(text.trim().into()),
        CellValue::Int(n) => Some(n.to_string()),
        CellValue::Real(x) => Some(canonical_number(*x)),
        CellValue::Bool(b) => Some(b.to_string()),
        CellValue::Absent | CellValue::Null | CellValue::Texts(_) | CellValue::Other(_) => None,
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|x: &f64| x.is_finite())
}

/// The canonical text of a number: `1.0`, `1` and `01` are `1`, `-0.0` is `0`.
fn canonical_number(x: f64) -> String {
    (x + 0.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RowLocation;

    fn labels_from(values: &[CellValue]) -> Result<Labels, TaskError> {
        let rows: Vec<RawRow> = values
            .iter()
            .enumerate()
            .map(|(i, c)| RawRow {
                location: RowLocation::Row(i + 1),
                cells: vec![c.clone()],
            })
            .collect();
        Labels::from_rows("train.csv", "label", &[rows], 0)
    }

    fn class(number: usize) -> LabelValue {
        LabelValue::Answer(Answer::Class(number))
    }

    fn text(t: &str) -> CellValue {
        CellValue::Text(t.into())
    }

    #[test]
    fn numbers_are_sorted_by_value_and_names_by_text() {
        let numbers = labels_from(&[
            text("10"),
            CellValue::Int(2),
            CellValue::Real(-1.0),
            text("2.0"),
        ])
        .unwrap();
        assert_eq!(
            numbers,
            Labels::Numbers(vec!["-1".into(), "2".into(), "10".into()])
        );
        assert_eq!(numbers.read(&text(" 10 ")), class(2));
        // -1 is a class here, because it occurs among other classes.
        assert_eq!(numbers.read(&CellValue::Int(-1)), class(0));
        let names =
            labels_from(&[text("10"), text("b"), CellValue::Bool(true), text("a")]).unwrap();
        assert_eq!(names.names(), ["10", "a", "b", "true"]);
        assert_eq!(names.read(&CellValue::Int(10)), class(0));
        assert_eq!(names.read(&text("c")), LabelValue::Outside);
    }

    #[test]
    fn known_labels_are_read_by_name_and_by_number() {
        let labels = Labels::Known(vec!["negative".into(), "positive".into()]);
        for one in [
            CellValue::Int(1),
            CellValue::Real(1.0),
            text("1"),
            text("positive"),
            text(" 1.0"),
        ] {
            assert_eq!(labels.read(&one), class(1), "{one:?}");
        }
        for none in [
            CellValue::Absent,
            CellValue::Null,
            text(" "),
            CellValue::Int(-1),
            text("-1"),
        ] {
            assert_eq!(labels.read(&none), LabelValue::Unlabelled, "{none:?}");
        }
        for bad in [
            CellValue::Int(2),
            CellValue::Real(0.5),
            text("great"),
            CellValue::Other("an array"),
        ] {
            assert_eq!(labels.read(&bad), LabelValue::Outside, "{bad:?}");
        }
        assert_eq!(
            labels.expected(),
            "0 to 1 or one of \"negative\", \"positive\""
        );
    }

    #[test]
    fn texts_are_read_one_or_many_to_a_row() {
        let texts = |texts: &[&str]| {
            let texts = texts.iter().map(|&text| text.into()).collect();
            LabelValue::Answer(Answer::Texts(texts))
        };
        let labels = Labels::Texts;
        assert_eq!(labels.read(&text(" two words ")), texts(&["two words"]));
        assert_eq!(labels.read(&CellValue::Int(1968)), texts(&["1968"]));
        let many = CellValue::Texts(vec!["a".into(), " ".into(), "b ".into()]);
        assert_eq!(labels.read(&many), texts(&["a", "b"]));
        for none in [text(" "), CellValue::Null, CellValue::Texts(Vec::new())] {
            assert_eq!(labels.read(&none), LabelValue::Unlabelled, "{none:?}");
        }
        assert_eq!(
            labels.read(&CellValue::Other("an array")),
            LabelValue::Outside
        );
        // A list is not a class.
        let known = Labels::Known(vec!["a".into(), "b".into()]);
        assert_eq!(known.read(&many), LabelValue::Outside);
    }

    #[test]
    fn a_column_without_classes_is_an_error() {
        let e = labels_from(&[text("a"), text("a"), CellValue::Null])
            .unwrap_err()
            .to_string();
        assert!(
            e.starts_with("train.csv: column \"label\": found 1 different labels (\"a\")"),
            "{e}"
        );
        let ids: Vec<CellValue> = (0..1001).map(CellValue::Int).collect();
        let e = labels_from(&ids).unwrap_err().to_string();
        assert!(
            e.contains("found 1001 different labels") && e.contains("..."),
            "{e}"
        );
    }
}
