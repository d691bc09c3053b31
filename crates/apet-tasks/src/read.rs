//! Reads the wanted columns of a split's rows from bytes.

#[cfg(not(target_arch = "wasm32"))]
mod arrow;
mod json;
#[cfg(not(target_arch = "wasm32"))]
mod parquet;
mod table;

use std::path::Path;

use crate::error::{RowLocation, TaskError, quote};

/// The file format of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object for each line.
    Jsonl,
    /// An array of JSON objects, or one object for each line, because many sources use this extension for both.
    Json,
    /// Comma-separated values with a header line and `"` around fields that need it.
    Csv,
    /// Tab-separated values with a header line; `"` is an ordinary character, as in GLUE.
    Tsv,
    /// Apache Parquet, natively only.
    Parquet,
    /// Apache Arrow, a stream or a file, natively only.
    Arrow,
}

impl Format {
    /// The format for a file name's extension.
    pub fn from_name(name: &str) -> Option<Self> {
        let ending = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "parquet" => Some(Self::Parquet),
            "arrow" => Some(Self::Arrow),
            _ => None,
        }
    }
}

/// The bytes of one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitFile {
    /// Name or path; its extension determines the format, and errors quote it.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// A column to read.
#[derive(Clone, Copy)]
pub(crate) struct ColumnRequest<'a> {
    pub(crate) name: &'a str,
    /// The field of the spec that names the column, for errors.
    pub(crate) field: &'static str,
    /// Whether a row without the column is an error; otherwise its cell is [`CellValue::Absent`].
    pub(crate) required: bool,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CellValue {
    /// The row has no such column.
    Absent,
    Null,
    Text(String),
    Int(i64),
    Real(f64),
    Bool(bool),
    /// A list of texts.
    Texts(Vec<String>),
    /// Any other type, by name.
    Other(&'static str),
}

impl CellValue {
    /// The value for a message.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Absent => "nothing".into(),
            Self::Null => "null".into(),
            Self::Text(text) => quote(text),
            Self::Int(n) => n.to_string(),
            Self::Real(x) => x.to_string(),
            Self::Bool(b) => b.to_string(),
            Self::Texts(texts) => format!("a list of {} texts", texts.len()),
            Self::Other(what) => (*what).into(),
        }
    }
}

/// The wanted columns of one row, in the given order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawRow {
    pub(crate) location: RowLocation,
    pub(crate) cells: Vec<CellValue>,
}

/// Every row of `file`.
///
/// # Errors
/// Names the file, the row, what was found and what was expected. A file without rows is an error.
pub(crate) fn rows(
    file: &SplitFile,
    wanted: &[ColumnRequest<'_>],
) -> Result<Vec<RawRow>, TaskError> {
    let rows = match Format::from_name(&file.name) {
        Some(Format::Jsonl) => json::lines(&file.name, text(file)?, wanted)?,
        Some(Format::Json) => json::array_or_lines(&file.name, text(file)?, wanted)?,
        Some(Format::Csv) => table::rows(&file.name, text(file)?, b',', wanted)?,
        Some(Format::Tsv) => table::rows(&file.name, text(file)?, b'\t', wanted)?,
        #[cfg(not(target_arch = "wasm32"))]
        Some(Format::Parquet) => parquet::rows(file, wanted)?,
        #[cfg(not(target_arch = "wasm32"))]
        Some(Format::Arrow) => arrow::rows(file, wanted)?,
        #[cfg(target_arch = "wasm32")]
        Some(Format::Parquet | Format::Arrow) => {
            return Err(TaskError::file(
                &file.name,
                "found Parquet or Arrow, which the browser version does not read, expected .jsonl, .json, .csv or .tsv",
            ));
        }
        None => {
            return Err(TaskError::file(
                &file.name,
                "found an unknown file extension, expected .jsonl, .json, .csv, .tsv, .parquet or .arrow",
            ));
        }
    };
    if rows.is_empty() {
        return Err(TaskError::file(
            &file.name,
            "found no rows, expected at least 1",
        ));
    }
    Ok(rows)
}

/// The file's text, without a byte order mark.
fn text(file: &SplitFile) -> Result<&str, TaskError> {
    let text = std::str::from_utf8(&file.bytes).map_err(|e| {
        let good = &file.bytes[..e.valid_up_to()];
        let line = 1 + good.iter().filter(|&&b| b == b'\n').count();
        let byte = file.bytes.get(e.valid_up_to()).copied().unwrap_or_default();
        TaskError::Row {
            file: file.name.clone(),
            location: RowLocation::Line(line),
            problem: format!("found the byte 0x{byte:02x}, expected UTF-8; save the file as UTF-8"),
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The error for a row without a required column, given the columns that exist.
fn missing<S: AsRef<str>>(
    file: &str,
    location: RowLocation,
    wanted: &ColumnRequest<'_>,
    found: impl IntoIterator<Item = S>,
) -> TaskError {
    TaskError::Column {
        file: file.into(),
        location,
        column: wanted.name.into(),
        found: crate::error::quote_list(found),
        field: wanted.field,
    }
}

#[cfg(test)]
pub(crate) mod tests;
