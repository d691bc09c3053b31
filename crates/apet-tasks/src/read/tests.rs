use proptest::prelude::*;

use super::*;

pub(crate) fn file(name: &str, content: impl Into<Vec<u8>>) -> SplitFile {
    SplitFile {
        name: name.into(),
        bytes: content.into(),
    }
}

fn wanted() -> [ColumnRequest<'static>; 2] {
    [
        ColumnRequest {
            name: "text",
            field: "task.text_column",
            required: true,
        },
        ColumnRequest {
            name: "label",
            field: "task.label_column",
            required: false,
        },
    ]
}

fn read(name: &str, content: &str) -> Vec<(RowLocation, Vec<CellValue>)> {
    let rows = rows(&file(name, content), &wanted()).unwrap();
    rows.into_iter().map(|r| (r.location, r.cells)).collect()
}

fn problem(name: &str, content: impl Into<Vec<u8>>) -> String {
    rows(&file(name, content), &wanted())
        .unwrap_err()
        .to_string()
}

fn text(t: &str) -> CellValue {
    CellValue::Text(t.into())
}

#[test]
fn formats_are_known_by_their_ending() {
    let formats = ["a.jsonl", "b/a.JSON", "a.csv", "a.tsv", "a.x.parquet"].map(Format::from_name);
    use Format::*;
    assert_eq!(formats, [Jsonl, Json, Csv, Tsv, Parquet].map(Some));
    assert_eq!(["jsonl", "a.gz", ""].map(Format::from_name), [None; 3]);
    assert!(
        problem("a.txt", "x")
            .starts_with("a.txt: found an unknown file extension, expected .jsonl")
    );
}

#[test]
fn json_lines_keep_their_line_numbers() {
    let content =
        "\u{feff}{\"text\":\"a\",\"label\":1,\"x\":[]}\r\n\n{\"label\":0.5,\"text\":\"b\\n\"}";
    assert_eq!(
        read("t.jsonl", content),
        [
            (RowLocation::Line(1), vec![text("a"), CellValue::Int(1)]),
            (
                RowLocation::Line(3),
                vec![text("b\n"), CellValue::Real(0.5)]
            ),
        ]
    );
    assert_eq!(read("t.json", content), read("t.jsonl", content));
    assert_eq!(
        read(
            "t.json",
            " [{\"text\":null},\n{\"text\":true,\"label\":\"x\"}]"
        ),
        [
            (
                RowLocation::Row(1),
                vec![CellValue::Null, CellValue::Absent]
            ),
            (RowLocation::Row(2), vec![CellValue::Bool(true), text("x")]),
        ]
    );
}

#[test]
fn tables_are_read_with_and_without_quotes() {
    assert_eq!(
        read(
            "t.csv",
            "id, text ,label\r\n7,\"a, \"\"b\"\"\nc\",1\n\n8,d,\n"
        ),
        [
            (RowLocation::Line(2), vec![text("a, \"b\"\nc"), text("1")]),
            (RowLocation::Line(5), vec![text("d"), text("")]),
        ]
    );
    // GLUE's TSV files contain unbalanced quotes.
    assert_eq!(
        read("t.tsv", "label\ttext\n1\t\"a, b\n0\tc\"\n"),
        [
            (RowLocation::Line(2), vec![text("\"a, b"), text("1")]),
            (RowLocation::Line(3), vec![text("c\""), text("0")]),
        ]
    );
    assert_eq!(
        read("t.csv", "text\na\n"),
        [(RowLocation::Line(2), vec![text("a"), CellValue::Absent])]
    );
}

#[test]
fn what_can_not_be_read_is_named() {
    assert_eq!(
        problem("t.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"\n"),
        "t.jsonl: line 2: bad JSON, EOF while parsing an object at character 11, expected one object a line"
    );
    assert_eq!(
        problem("t.json", "[{\"text\":\"a\"},\n{\"text\":]"),
        "t.json: line 2: bad JSON, expected value at character 9, expected an array of objects"
    );
    assert_eq!(
        problem("t.jsonl", "[1]"),
        "t.jsonl: line 1: found an array, expected an object"
    );
    assert_eq!(
        problem("t.json", "[3]"),
        "t.json: row 1: found 3, expected an object"
    );
    assert_eq!(
        problem("t.jsonl", "{\"sentence\":\"a\",\"label\":1}"),
        "t.jsonl: line 1: no column \"text\", found \"label\", \"sentence\"; set task.text_column to one of these"
    );
    assert_eq!(
        problem("t.csv", "a;b\n1;2\n"),
        "t.csv: line 1: no column \"text\", found \"a;b\"; set task.text_column to one of these"
    );
    assert_eq!(
        problem("t.csv", "text,label\na,1\nb\n"),
        "t.csv: line 3: found 1 fields, expected 2 as in the header"
    );
    assert_eq!(
        problem("t.csv", "text,text\na,1\n"),
        "t.csv: line 1: found the column \"text\" twice, expected it once"
    );
    assert_eq!(
        problem("t.csv", b"text,label\nok,1\ncaf\xe9,1\n".to_vec()),
        "t.csv: line 3: found the byte 0xe9, expected UTF-8; save the file as UTF-8"
    );
    for empty in ["", "\n", "\u{feff}"] {
        for name in ["t.jsonl", "t.json", "t.csv", "t.tsv"] {
            let found = problem(name, empty);
            assert_eq!(
                found,
                format!("{name}: found no rows, expected at least 1"),
                "{empty:?}"
            );
        }
    }
    assert_eq!(
        problem("t.csv", "text,label\n"),
        "t.csv: found no rows, expected at least 1"
    );
    assert_eq!(
        problem("t.json", "[]"),
        "t.json: found no rows, expected at least 1"
    );
}

/// Deeply nested JSON is an error, not a stack overflow.
#[test]
fn deep_nesting_is_refused() {
    let deep = format!("{{\"text\":{}", "[".repeat(100_000));
    assert!(problem("t.jsonl", deep).contains("recursion limit exceeded"));
}

proptest! {
    /// Arbitrary bytes under any name never panic.
    #[test]
    fn rubbish_does_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        name in "t\\.(jsonl|json|csv|tsv|parquet|txt)",
    ) {
        let _ = rows(&file(&name, bytes), &wanted());
    }

    /// Text that resembles rows never panics.
    #[test]
    fn near_rows_do_not_panic(
        content in "([{}\\[\\]\",:\t\n]|text|label|1|null){0,60}",
        name in "t\\.(jsonl|json|csv|tsv)",
    ) {
        let _ = rows(&file(&name, content), &wanted());
    }

    /// Rows written as CSV, JSON or JSON lines read back equal.
    #[test]
    fn texts_survive(texts in prop::collection::vec("\\PC{0,12}[ -~\n]{0,12}", 1..8)) {
        let cells = |rows: Vec<RawRow>| -> Vec<CellValue> {
            rows.into_iter().map(|r| r.cells[0].clone()).collect()
        };
        let expected: Vec<CellValue> = texts.iter().map(|t| text(t)).collect();
        let objects: Vec<_> =
            texts.iter().map(|t| serde_json::json!({ "text": t, "label": 1 })).collect();

        let lines: String = objects.iter().map(|o| format!("{o}\n")).collect();
        prop_assert_eq!(&cells(rows(&file("t.jsonl", lines), &wanted()).unwrap()), &expected);

        let array = serde_json::to_string(&objects).unwrap();
        prop_assert_eq!(&cells(rows(&file("t.json", array), &wanted()).unwrap()), &expected);

        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["text", "label"]).unwrap();
        for t in &texts {
            csv.write_record([t.as_str(), "1"]).unwrap();
        }
        let csv = csv.into_inner().unwrap();
        prop_assert_eq!(&cells(rows(&file("t.csv", csv), &wanted()).unwrap()), &expected);
    }
}

/// Parquet files written and read back.
#[cfg(not(target_arch = "wasm32"))]
mod parquet {
    use std::sync::Arc;

    use ::parquet::basic::{Compression, ZstdLevel};
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// A table as the `datasets` library writes it, with an additional column.
    fn written(compression: Compression) -> Vec<u8> {
        let schema = "message schema {
            optional int64 idx;
            optional int64 label;
            optional byte_array text (UTF8);
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .build();
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        for numbers in [[7, 8, 9], [1, 0, -1]] {
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<Int64Type>()
                .write_batch(&numbers, Some(&[1, 1, 1]), None)
                .unwrap();
            column.close().unwrap();
        }
        let texts = ["a film", "caf\u{e9}"].map(ByteArray::from);
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts, Some(&[1, 1, 0]), None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        bytes
    }

    fn compressions() -> [Compression; 4] {
        [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
            Compression::GZIP(Default::default()),
        ]
    }

    #[test]
    fn every_common_compression_is_read() {
        for compression in compressions() {
            let rows = rows(&file("t.parquet", written(compression)), &wanted()).unwrap();
            let read: Vec<(RowLocation, Vec<CellValue>)> =
                rows.into_iter().map(|r| (r.location, r.cells)).collect();
            let expected = [
                (RowLocation::Row(1), vec![text("a film"), CellValue::Int(1)]),
                (
                    RowLocation::Row(2),
                    vec![text("caf\u{e9}"), CellValue::Int(0)],
                ),
                (
                    RowLocation::Row(3),
                    vec![CellValue::Null, CellValue::Int(-1)],
                ),
            ];
            assert_eq!(read, expected, "{compression}");
        }
    }

    #[test]
    fn wrong_files_are_named() {
        assert!(problem("t.parquet", "").starts_with("t.parquet: cannot be read as Parquet: "));
        let bytes = written(Compression::SNAPPY);
        let cut = bytes[..bytes.len() - 9].to_vec();
        assert!(problem("t.parquet", cut).starts_with("t.parquet: cannot be read as Parquet: "));
        let wanted = [ColumnRequest {
            name: "words",
            field: "task.text_column",
            required: true,
        }];
        assert_eq!(
            rows(&file("t.parquet", bytes), &wanted)
                .unwrap_err()
                .to_string(),
            "t.parquet: row 1: no column \"words\", found \"idx\", \"label\", \"text\"; set task.text_column to one of these"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        /// A damaged file never panics.
        #[test]
        fn damage_does_not_panic(
            which in 0usize..4,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = written(compressions()[which]);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = rows(&file("t.parquet", bytes), &wanted());
        }
    }
}
