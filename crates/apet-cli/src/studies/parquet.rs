//! Rows of values as a Parquet file.

use std::sync::Arc;

use anyhow::{Result, bail};
use apet_study::{ColumnKind, TableValue};
use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

/// Rows that are written at once.
const ROWS: usize = 10_000;

/// A table that is being written.
pub(crate) struct Table {
    file: SerializedFileWriter<Vec<u8>>,
    columns: usize,
}

impl Table {
    /// A table of these columns; every value may be missing.
    pub(crate) fn new<'a>(
        columns: impl IntoIterator<Item = (&'a str, ColumnKind)>,
    ) -> Result<Self> {
        let fields = columns.into_iter().map(|(name, kind)| {
            let (physical, meaning) = match kind {
                ColumnKind::Text => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
                ColumnKind::Whole => (Physical::INT64, ConvertedType::NONE),
                ColumnKind::Real => (Physical::DOUBLE, ConvertedType::NONE),
            };
            let field = Type::primitive_type_builder(name, physical);
            let field = field.with_repetition(Repetition::OPTIONAL);
            Ok(Arc::new(field.with_converted_type(meaning).build()?))
        });
        let fields: Vec<_> = fields.collect::<Result<_>>()?;
        let columns = fields.len();
        let schema = Type::group_type_builder("runs")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder();
        let properties = properties.set_compression(Compression::SNAPPY).build();
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        Ok(Self { file, columns })
    }

    /// Adds rows, each with a value of the right kind for every column.
    ///
    /// # Errors
    /// When a value is of another kind.
    pub(crate) fn add(&mut self, rows: &[Vec<TableValue>]) -> Result<()> {
        for rows in rows.chunks(ROWS) {
            let mut group = self.file.next_row_group()?;
            for at in 0..self.columns {
                let Some(mut column) = group.next_column()? else {
                    bail!("a column is missing");
                };
                write_column(column.untyped(), rows.iter().filter_map(|row| row.get(at)))?;
                column.close()?;
            }
            group.close()?;
        }
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub(crate) fn end(self) -> Result<Vec<u8>> {
        Ok(self.file.into_inner()?)
    }
}

/// Writes the values that are there, and for each row whether it has one.
fn write_column<'a>(
    column: &mut ColumnWriter<'_>,
    values: impl Iterator<Item = &'a TableValue>,
) -> Result<()> {
    let (mut there, mut texts, mut whole, mut real) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let is_there = match value {
            TableValue::Text(text) => text
                .as_deref()
                .map(|text| texts.push(ByteArray::from(text))),
            TableValue::Whole(number) => number.map(|number| whole.push(number)),
            TableValue::Real(number) => number.map(|number| real.push(number)),
        };
        there.push(i16::from(is_there.is_some()));
    }
    let there = Some(&there[..]);
    match column {
        ColumnWriter::ByteArrayColumnWriter(out) => out.write_batch(&texts, there, None)?,
        ColumnWriter::Int64ColumnWriter(out) => out.write_batch(&whole, there, None)?,
        ColumnWriter::DoubleColumnWriter(out) => out.write_batch(&real, there, None)?,
        _ => bail!("a column is of another kind"),
    };
    Ok(())
}
