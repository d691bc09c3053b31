//! JSON: one object for each line, or an array of objects.

use serde_json::{Map, Value};

use super::{CellValue, ColumnRequest, RawRow, missing};
use crate::error::{RowLocation, TaskError};

/// One object for each line; empty lines are skipped.
pub(super) fn lines(
    file: &str,
    text: &str,
    wanted: &[ColumnRequest<'_>],
) -> Result<Vec<RawRow>, TaskError> {
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let location = RowLocation::Line(i + 1);
        let value = serde_json::from_str(line).map_err(|e| TaskError::Row {
            file: file.into(),
            location,
            problem: format!("bad JSON, {}, expected one object a line", problem(&e)),
        })?;
        rows.push(row(file, location, value, wanted)?);
    }
    Ok(rows)
}

/// An array of objects, or one object for each line if the text does not start with `[`.
pub(super) fn array_or_lines(
    file: &str,
    text: &str,
    wanted: &[ColumnRequest<'_>],
) -> Result<Vec<RawRow>, TaskError> {
    if !text.trim_start().starts_with('[') {
        return lines(file, text, wanted);
    }
    let values: Vec<Value> = serde_json::from_str(text).map_err(|e| TaskError::Row {
        file: file.into(),
        location: RowLocation::Line(e.line()),
        problem: format!("bad JSON, {}, expected an array of objects", problem(&e)),
    })?;
    let rows = values.into_iter().enumerate();
    rows.map(|(i, value)| row(file, RowLocation::Row(i + 1), value, wanted))
        .collect()
}

/// serde_json's message with the column only, because the caller names the line.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&end).unwrap_or(&text);
    format!("{what} at character {}", error.column())
}

fn row(
    file: &str,
    location: RowLocation,
    value: Value,
    wanted: &[ColumnRequest<'_>],
) -> Result<RawRow, TaskError> {
    let Value::Object(mut object) = value else {
        return Err(TaskError::Row {
            file: file.into(),
            location,
            problem: format!("found {}, expected an object", cell(value).shown()),
        });
    };
    if let Some(absent) = wanted
        .iter()
        .find(|w| w.required && !object.contains_key(w.name))
    {
        return Err(missing(file, location, absent, object.keys()));
    }
    let cells = wanted.iter().map(|w| take(&mut object, w.name)).collect();
    Ok(RawRow { location, cells })
}

fn take(object: &mut Map<String, Value>, name: &str) -> CellValue {
    object
        .get_mut(name)
        .map_or(CellValue::Absent, |value| cell(value.take()))
}

fn cell(value: Value) -> CellValue {
    match value {
        Value::Null => CellValue::Null,
        Value::Bool(b) => CellValue::Bool(b),
        Value::String(text) => CellValue::Text(text),
        Value::Array(values) => {
            let text = |value| match value {
                Value::String(text) => Some(text),
                _ => None,
            };
            let texts: Option<Vec<String>> = values.into_iter().map(text).collect();
            texts.map_or(CellValue::Other("an array"), CellValue::Texts)
        }
        Value::Object(_) => CellValue::Other("an object"),
        Value::Number(n) => match n.as_i64() {
            Some(int) => CellValue::Int(int),
            None => n
                .as_f64()
                .map_or(CellValue::Other("a number out of range"), CellValue::Real),
        },
    }
}
