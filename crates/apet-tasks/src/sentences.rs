//! The task `sentences`: review sentences from a dependency of the page,
//! so that a task is available offline.

use apet_record::Stream;
use serde::{Deserialize, Serialize};

use crate::error::{RowLocation, TaskError};
use crate::load::SplitFiles;
use crate::read::SplitFile;

#[derive(Deserialize)]
struct SentenceSource {
    text: String,
    class: Option<u8>,
}

#[derive(Serialize)]
struct Sentence {
    text: String,
    label: u8,
}

/// The splits of `sentences`, as JSONL, from `test/fixtures/{imdb,yelp,amazon}.json` of
/// the npm package sentiment 5.0.2: 3,000 rows, shuffled by a fixed stream and split into
/// 80, 10 and 10 %. Each file's empty last row is dropped.
///
/// # Errors
/// If a file is not an array of `{"text", "class"}` with classes 0 and 1.
pub fn sentences(imdb: &[u8], yelp: &[u8], amazon: &[u8]) -> Result<SplitFiles, TaskError> {
    let mut rows = Vec::new();
    for (file, bytes) in [
        ("imdb.json", imdb),
        ("yelp.json", yelp),
        ("amazon.json", amazon),
    ] {
        rows.extend(read(file, bytes)?);
    }
    Stream::new("sentences split", 0).shuffle(&mut rows);
    let tenth = rows.len() / 10;
    if tenth == 0 {
        let problem = format!(
            "found {} rows in the three files, expected at least 10",
            rows.len()
        );
        return Err(TaskError::file("sentences", problem));
    }
    let test = rows.split_off(rows.len() - tenth);
    let dev = rows.split_off(rows.len() - tenth);
    Ok(SplitFiles {
        train: vec![written("train", &rows)?],
        dev: vec![written("validation", &dev)?],
        test: vec![written("test", &test)?],
    })
}

fn read(file: &str, bytes: &[u8]) -> Result<Vec<Sentence>, TaskError> {
    let mut rows: Vec<SentenceSource> = serde_json::from_slice(bytes).map_err(|e| {
        TaskError::file(
            file,
            format!("{e}, expected an array of {{\"text\", \"class\"}}"),
        )
    })?;
    if rows
        .last()
        .is_some_and(|row| row.text.is_empty() && row.class.is_none())
    {
        rows.pop();
    }
    let rows = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| match row.class {
            Some(label @ 0..=1) => Ok(Sentence {
                text: row.text,
                label,
            }),
            other => Err(TaskError::Cell {
                file: file.into(),
                location: RowLocation::Row(i + 1),
                column: "class".into(),
                found: other.map_or("null".into(), |class| class.to_string()),
                expected: "0 or 1".into(),
            }),
        });
    rows.collect()
}

fn written(split: &str, rows: &[Sentence]) -> Result<SplitFile, TaskError> {
    let name = format!("sentences/{split}.jsonl");
    let mut bytes = Vec::new();
    for row in rows {
        // A text and a number always serialise as JSON.
        serde_json::to_writer(&mut bytes, row)
            .map_err(|e| TaskError::file(&name, e.to_string()))?;
        bytes.push(b'\n');
    }
    Ok(SplitFile { name, bytes })
}

#[cfg(test)]
mod tests {
    use apet_record::RunSpec;
    use std::collections::BTreeSet;

    use super::*;
    use crate::Answer;
    use crate::load;

    fn fixture(source: &str, rows: usize) -> Vec<u8> {
        let rows = (0..rows).map(|i| format!(r#"{{"text":"{source} {i}  ","class":{}}}"#, i % 2));
        let empty = r#"{"text":"","class":null}"#.to_owned();
        format!("[{}]", rows.chain([empty]).collect::<Vec<_>>().join(",")).into_bytes()
    }

    fn made() -> SplitFiles {
        sentences(
            &fixture("imdb", 20),
            &fixture("yelp", 20),
            &fixture("amazon", 20),
        )
        .unwrap()
    }

    #[test]
    fn every_sentence_is_in_one_split() {
        let task = load(&RunSpec::new("m", "sentences").task, 0, made()).unwrap();
        assert_eq!(
            (task.train.len(), task.dev.len(), task.test.len()),
            (48, 6, 6)
        );
        assert_eq!(
            (task.labels[0].as_str(), task.split_note.as_str()),
            ("negative", "")
        );
        let all: BTreeSet<&str> = [&task.train, &task.dev, &task.test]
            .into_iter()
            .flatten()
            .map(|e| e.text.as_str())
            .collect();
        assert_eq!(all.len(), 60);
        assert!(
            task.train
                .iter()
                .all(|e| e.text.trim().ends_with(['0', '2', '4', '6', '8'])
                    == (e.answer == Answer::Class(0)))
        );
    }

    /// Guarantees that the splits never change, by the first row of each.
    #[test]
    fn the_splits_are_pinned() {
        let files = made();
        let first = |split: &[SplitFile]| {
            let text = String::from_utf8(split[0].bytes.clone()).unwrap();
            text.lines().next().unwrap().to_owned()
        };
        assert_eq!(first(&files.train), r#"{"text":"yelp 17  ","label":1}"#);
        assert_eq!(first(&files.dev), r#"{"text":"imdb 9  ","label":1}"#);
        assert_eq!(first(&files.test), r#"{"text":"imdb 1  ","label":1}"#);
    }

    #[test]
    fn other_files_are_refused() {
        let good = fixture("x", 20);
        let problem = |bytes: &[u8]| sentences(&good, bytes, &good).err().map(|e| e.to_string());
        assert!(
            problem(b"[{\"text\":\"a\"")
                .unwrap()
                .starts_with("yelp.json: EOF while parsing")
        );
        assert_eq!(
            problem(b"[{\"text\":\"a\",\"class\":2}]").unwrap(),
            "yelp.json: row 1, column \"class\": found 2, expected 0 or 1"
        );
        let e = problem(b"[{\"text\":\"\",\"class\":null},{\"text\":\"a\",\"class\":1}]").unwrap();
        assert_eq!(
            e,
            "yelp.json: row 1, column \"class\": found null, expected 0 or 1"
        );
        let few = sentences(b"[]", b"[]", b"[]").unwrap_err().to_string();
        assert_eq!(
            few,
            "sentences: found 0 rows in the three files, expected at least 10"
        );
    }
}
