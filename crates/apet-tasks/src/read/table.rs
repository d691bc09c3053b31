//! Comma- and tab-separated values with a header line.

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord, Trim};

use super::{CellValue, ColumnRequest, RawRow, missing};
use crate::error::{RowLocation, TaskError};

/// The rows of a table with a header line.
pub(super) fn rows(
    file: &str,
    text: &str,
    delimiter: u8,
    wanted: &[ColumnRequest<'_>],
) -> Result<Vec<RawRow>, TaskError> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .trim(Trim::Headers)
        .from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|e| unreadable(file, text, &e))?
        .clone();
    let positions: Vec<Option<usize>> = wanted
        .iter()
        .map(|w| position(file, &header, w))
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| unreadable(file, text, &e))?;
        let location = location(text, record.position());
        let cells = positions.iter().map(|p| {
            p.and_then(|i| record.get(i))
                .map_or(CellValue::Absent, |text| CellValue::Text(text.into()))
        });
        rows.push(RawRow {
            location,
            cells: cells.collect(),
        });
    }
    Ok(rows)
}

fn position(
    file: &str,
    header: &StringRecord,
    wanted: &ColumnRequest<'_>,
) -> Result<Option<usize>, TaskError> {
    let mut found = header
        .iter()
        .enumerate()
        .filter(|(_, name)| *name == wanted.name);
    match (found.next(), found.next()) {
        (Some((i, _)), None) => Ok(Some(i)),
        (None, _) if wanted.required && !header.is_empty() => {
            Err(missing(file, RowLocation::Line(1), wanted, header))
        }
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(TaskError::Row {
            file: file.into(),
            location: RowLocation::Line(1),
            problem: format!(
                "found the column \"{}\" twice, expected it once",
                wanted.name
            ),
        }),
    }
}

fn unreadable(file: &str, text: &str, error: &csv::Error) -> TaskError {
    let problem = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("found {len} fields, expected {expected_len} as in the header")
        }
        _ => error.to_string(),
    };
    TaskError::Row {
        file: file.into(),
        location: location(text, error.position()),
        problem,
    }
}

/// The line on which a record starts. The reader's position may still precede the
/// line breaks that end the previous record.
fn location(text: &str, position: Option<&Position>) -> RowLocation {
    let Some(position) = position else {
        return RowLocation::Line(1);
    };
    let rest = text
        .as_bytes()
        .get(position.byte() as usize..)
        .unwrap_or_default();
    let breaks = rest.iter().take_while(|&&b| b == b'\r' || b == b'\n');
    RowLocation::Line(position.line() as usize + breaks.filter(|&&b| b == b'\n').count())
}
