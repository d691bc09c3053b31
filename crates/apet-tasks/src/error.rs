//! Errors of loading a task, each one sentence.

use std::fmt;

/// The location of a row in its file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLocation {
    /// A line of a text file, as an editor counts it.
    Line(usize),
    /// A row of an array or a table, which has no lines.
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

/// A task cannot be loaded. The message is one sentence with what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// A field of the task's spec is invalid.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field: `task.label_column`.
        field: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// A file or directory as a whole is invalid.
    #[error("{file}: {problem}")]
    File {
        /// Name or path.
        file: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A row is invalid.
    #[error("{file}: {location}: {problem}")]
    Row {
        /// Name of the file.
        file: String,
        /// The row.
        location: RowLocation,
        /// What was found and what was expected.
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
        /// The missing column.
        column: String,
        /// The columns that exist.
        found: String,
        /// The field of the spec that names the column.
        field: &'static str,
    },
    /// A value is invalid for its column.
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
        /// The valid values.
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

/// Foreign text for a message: quote, escaped, truncated.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The first few names for a message, quote.
pub(crate) fn quote_list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const MOST: usize = 8;
    let mut names = names.into_iter();
    let mut shown: Vec<String> = names
        .by_ref()
        .take(MOST)
        .map(|n| quote(n.as_ref()))
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
    fn foreign_text_is_escaped_and_truncated() {
        assert_eq!(quote("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert_eq!(quote(&"ä".repeat(41)), format!("\"{}\"...", "ä".repeat(40)));
        assert_eq!(quote_list(["a", "b"]), r#""a", "b""#);
        assert!(quote_list((0..9).map(|i| i.to_string())).ends_with("\"7\", ..."));
        assert_eq!(quote_list([""; 0]), "none");
    }
}
