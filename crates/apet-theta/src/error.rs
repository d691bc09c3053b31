//! The error of files that leave and enter.

/// A theta file that does not fit, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(pub(crate) String);
