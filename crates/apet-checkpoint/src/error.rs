//! The error of a file.

/// The reason why a model cannot be read or run, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct PlmError {
    /// The file.
    pub file: String,
    /// What was found, what was expected, what to do.
    pub problem: String,
}

impl PlmError {
    /// A problem of a file.
    pub fn new(file: &str, problem: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            problem: problem.into(),
        }
    }
}
