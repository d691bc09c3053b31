//! Arrow (native only): streams, as `datasets.save_to_disk` writes them, and files.

use std::io::Cursor;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType};

use super::{CellValue, ColumnRequest, RawRow, SplitFile, missing};
use crate::error::{RowLocation, TaskError};

/// The first bytes of an Arrow file, but not of a stream.
const FILE: &[u8] = b"ARROW1";

/// The rows of an Arrow stream or file. The reader may panic on damaged data, which becomes an error here.
pub(super) fn rows(
    file: &SplitFile,
    wanted: &[ColumnRequest<'_>],
) -> Result<Vec<RawRow>, TaskError> {
    std::panic::catch_unwind(|| decode(file, wanted)).unwrap_or_else(|_| {
        Err(TaskError::file(
            &file.name,
            "cannot be read as Arrow: the file is damaged",
        ))
    })
}

fn decode(file: &SplitFile, wanted: &[ColumnRequest<'_>]) -> Result<Vec<RawRow>, TaskError> {
    let unreadable =
        |e: ArrowError| TaskError::file(&file.name, format!("cannot be read as Arrow: {e}"));
    let bytes = Cursor::new(&file.bytes[..]);
    let mut rows = Vec::new();
    let mut add = |batch: Result<RecordBatch, ArrowError>| {
        batch_rows(file, &batch.map_err(unreadable)?, wanted, &mut rows)
    };
    if file.bytes.starts_with(FILE) {
        let mut batches = FileReader::try_new(bytes, None).map_err(unreadable)?;
        batches.try_for_each(&mut add)?;
    } else {
        let mut batches = StreamReader::try_new(bytes, None).map_err(unreadable)?;
        batches.try_for_each(&mut add)?;
    }
    Ok(rows)
}

fn batch_rows(
    file: &SplitFile,
    batch: &RecordBatch,
    wanted: &[ColumnRequest<'_>],
    rows: &mut Vec<RawRow>,
) -> Result<(), TaskError> {
    let columns: Vec<Option<&ArrayRef>> = wanted
        .iter()
        .map(|wanted| batch.column_by_name(wanted.name))
        .collect();
    let pairs = wanted.iter().zip(&columns);
    if let Some((absent, _)) = pairs.into_iter().find(|(w, c)| w.required && c.is_none()) {
        let schema = batch.schema();
        let found = schema.fields().iter().map(|field| field.name());
        return Err(missing(&file.name, RowLocation::Row(1), absent, found));
    }
    for at in 0..batch.num_rows() {
        let cells = columns.iter();
        let cells = cells.map(|column| column.map_or(CellValue::Absent, |column| cell(column, at)));
        rows.push(RawRow {
            location: RowLocation::Row(rows.len() + 1),
            cells: cells.collect(),
        });
    }
    Ok(())
}

fn cell(values: &dyn Array, at: usize) -> CellValue {
    if values.is_null(at) {
        return CellValue::Null;
    }
    macro_rules! number {
        ($kind:ty) => {
            values.as_primitive::<$kind>().value(at).into()
        };
    }
    match values.data_type() {
        DataType::Utf8 => CellValue::Text(values.as_string::<i32>().value(at).into()),
        DataType::LargeUtf8 => CellValue::Text(values.as_string::<i64>().value(at).into()),
        DataType::Utf8View => CellValue::Text(values.as_string_view().value(at).into()),
        DataType::Boolean => CellValue::Bool(values.as_boolean().value(at)),
        DataType::Int8 => CellValue::Int(number!(Int8Type)),
        DataType::Int16 => CellValue::Int(number!(Int16Type)),
        DataType::Int32 => CellValue::Int(number!(Int32Type)),
        DataType::Int64 => CellValue::Int(number!(Int64Type)),
        DataType::UInt8 => CellValue::Int(number!(UInt8Type)),
        DataType::UInt16 => CellValue::Int(number!(UInt16Type)),
        DataType::UInt32 => CellValue::Int(number!(UInt32Type)),
        DataType::UInt64 => {
            let number = values.as_primitive::<UInt64Type>().value(at);
            i64::try_from(number).map_or(CellValue::Real(number as f64), CellValue::Int)
        }
        DataType::Float32 => CellValue::Real(number!(Float32Type)),
        DataType::Float64 => CellValue::Real(number!(Float64Type)),
        DataType::List(_) => texts(&values.as_list::<i32>().value(at)),
        DataType::LargeList(_) => texts(&values.as_list::<i64>().value(at)),
        DataType::Struct(_) => CellValue::Other("a group"),
        DataType::Map(..) => CellValue::Other("a map"),
        _ => CellValue::Other("a value of a kind that is not read"),
    }
}

fn texts(list: &dyn Array) -> CellValue {
    let text = |at| match cell(list, at) {
        CellValue::Text(text) => Some(text),
        _ => None,
    };
    let texts: Option<Vec<String>> = (0..list.len()).map(text).collect();
    texts.map_or(CellValue::Other("a list"), CellValue::Texts)
}
