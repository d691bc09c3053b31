//! Why a task can not be loaded, in one sentence.

use std::fmt;

/// A row of a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLocation {
    /// A line of a text file, as an editor counts it.
    Line(usize),
    /// A row of a file without lines: an array or a table.
    Row(usize),
}

impl fmt::Display for RowLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Row(n) => write!(f, "row {n}"),
        }
    }
}

/// A task that can not be loaded, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// A field of the task's spec can not be used.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field: `task.label_column`.
        field: &'static str,
        /// What was found, what was expected.
        problem: String,
    },
    /// A file as a whole, or a directory, is not what was expected.
    #[error("{file}: {problem}")]
    File {
        /// Name or path.
        file: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// A row can not be read.
    #[error("{file}: {location}: {problem}")]
    Row {
        /// Name of the file.
        file: String,
        /// The row.
        location: RowLocation,
        /// What was found, what was expected.
        problem: String,
    },
    /// A row lacks a column.
    #[error(
        "{file}: {location}: no column \"{column}\", found {found}; set {field} to one of these"
    )]
    Column {
        /// Name of the file.
        file: String,
        /// The first row without it.
        location: RowLocation,
        /// The column looked for.
        column: String,
        /// The columns that are there.
        found: String,
        /// The field of the spec that names the column.
        field: &'static str,
    },
    /// A value is not what its column holds.
    #[error("{file}: {location}, column \"{column}\": found {found}, expected {expected}")]
    Cell {
        /// Name of the file.
        file: String,
        /// The row.
        location: RowLocation,
        /// The column.
        column: String,
        /// The value.
        found: String,
        /// What may stand there.
        expected: String,
    },
}

impl TaskError {
    pub(crate) fn file(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::File {
            file: file.into(),
            problem: problem.into(),
        }
    }
}

/// A text of someone else's in a message: quoted, escaped, cut.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Names in a message: quoted, the first few of them.
pub(crate) fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const MOST: usize = 8;
    let mut names = names.into_iter();
    let mut shown: Vec<String> = names
        .by_ref()
        .take(MOST)
        .map(|n| quoted(n.as_ref()))
        .collect();
    if names.next().is_some() {
        shown.push("...".into());
    }
    if shown.is_empty() {
        "none".into()
    } else {
        shown.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_escaped_and_cut() {
        assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert_eq!(
            quoted(&"ä".repeat(41)),
            format!("\"{}\"...", "ä".repeat(40))
        );
        assert_eq!(listed(["a", "b"]), r#""a", "b""#);
        assert!(listed((0..9).map(|i| i.to_string())).ends_with("\"7\", ..."));
        assert_eq!(listed([""; 0]), "none");
    }
}
