//! Parquet (native only).

use bytes::Bytes;
use parquet::{
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
    schema::types::Type,
};

use super::{CellValue, ColumnRequest, RawRow, SplitFile, missing};
use crate::error::{RowLocation, TaskError};

/// The rows of a Parquet file; only the wanted columns are decoded.
///
/// The parquet crate panics on some damaged files (negative offsets, page headers with
/// wrong sizes); a panic becomes an error here.
pub(super) fn rows(
    file: &SplitFile,
    wanted: &[ColumnRequest<'_>],
) -> Result<Vec<RawRow>, TaskError> {
    std::panic::catch_unwind(|| decode(file, wanted)).unwrap_or_else(|_| {
        Err(TaskError::file(
            &file.name,
            "cannot be read as Parquet: the file is damaged",
        ))
    })
}

fn decode(file: &SplitFile, wanted: &[ColumnRequest<'_>]) -> Result<Vec<RawRow>, TaskError> {
    let unreadable =
        |e: ParquetError| TaskError::file(&file.name, format!("cannot be read as Parquet: {e}"));
    let reader =
        SerializedFileReader::new(Bytes::copy_from_slice(&file.bytes)).map_err(unreadable)?;
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields();
    let has = |w: &ColumnRequest<'_>| fields.iter().any(|f| f.name() == w.name);
    if let Some(absent) = wanted.iter().find(|w| w.required && !has(w)) {
        let found = fields.iter().map(|f| f.name());
        return Err(missing(&file.name, RowLocation::Row(1), absent, found));
    }
    let is_wanted = |name: &str| wanted.iter().any(|w| w.name == name);
    let kept = fields
        .iter()
        .filter(|f| is_wanted(f.name()))
        .cloned()
        .collect();
    let projection = Type::group_type_builder(schema.name())
        .with_fields(kept)
        .build();
    let table = reader
        .get_row_iter(Some(projection.map_err(unreadable)?))
        .map_err(unreadable)?;
    let mut rows = Vec::new();
    for (i, row) in table.enumerate() {
        let location = RowLocation::Row(i + 1);
        let mut columns = row
            .map_err(|e| TaskError::Row {
                file: file.name.clone(),
                location,
                problem: format!("cannot be read as Parquet: {e}"),
            })?
            .into_columns();
        let cells = wanted.iter().map(|w| {
            let column = columns.iter_mut().find(|(name, _)| name == w.name);
            column.map_or(CellValue::Absent, |(_, field)| {
                cell(std::mem::replace(field, Field::Null))
            })
        });
        rows.push(RawRow {
            location,
            cells: cells.collect(),
        });
    }
    Ok(rows)
}

fn cell(field: Field) -> CellValue {
    match field {
        Field::Null => CellValue::Null,
        Field::Bool(b) => CellValue::Bool(b),
        Field::Byte(n) => CellValue::Int(n.into()),
        Field::Short(n) => CellValue::Int(n.into()),
        Field::Int(n) => CellValue::Int(n.into()),
        Field::Long(n) => CellValue::Int(n),
        Field::UByte(n) => CellValue::Int(n.into()),
        Field::UShort(n) => CellValue::Int(n.into()),
        Field::UInt(n) => CellValue::Int(n.into()),
        Field::ULong(n) => i64::try_from(n).map_or(CellValue::Real(n as f64), CellValue::Int),
        Field::Float(x) => CellValue::Real(x.into()),
        Field::Double(x) => CellValue::Real(x),
        Field::Str(text) => CellValue::Text(text),
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec())
            .map_or(CellValue::Other("bytes"), CellValue::Text),
        Field::Group(_) => CellValue::Other("a group"),
        Field::ListInternal(list) => {
            let text = |field: &Field| match field {
                Field::Str(text) => Some(text.clone()),
                _ => None,
            };
            let texts: Option<Vec<String>> = list.elements().iter().map(text).collect();
            texts.map_or(CellValue::Other("a list"), CellValue::Texts)
        }
        Field::MapInternal(_) => CellValue::Other("a map"),
        _ => CellValue::Other("a date or decimal"),
    }
}
