//! Finds a task's files in a directory; native only.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{TaskError, quote_list};
use crate::load::SplitFiles;
use crate::read::{Format, SplitFile};

const TRAIN: &[&str] = &["train"];
const DEV: &[&str] = &["validation", "valid", "val", "dev", "validation_matched"];
const TEST: &[&str] = &["test", "test_matched"];

/// The paths of a task's splits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPaths {
    /// `train.*`, one file or several parts.
    pub train: Vec<PathBuf>,
    /// `validation.*`, `valid.*`, `val.*` or `dev.*`; empty if there is no such file.
    pub dev: Vec<PathBuf>,
    /// `test.*`; empty if there is no such file.
    pub test: Vec<PathBuf>,
}

impl SplitPaths {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn read(&self) -> Result<SplitFiles, TaskError> {
        let all = |paths: &[PathBuf]| -> Result<Vec<SplitFile>, TaskError> {
            paths.iter().map(|path| read(path)).collect()
        };
        Ok(SplitFiles {
            train: all(&self.train)?,
            dev: all(&self.dev)?,
            test: all(&self.test)?,
        })
    }
}

fn read(path: &Path) -> Result<SplitFile, TaskError> {
    let name = path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => Ok(SplitFile { name, bytes }),
        Err(e) => Err(TaskError::file(name, format!("cannot be read: {e}"))),
    }
}

/// The splits in `dir`, or in its folder `data` as on the Hugging Face hub:
/// `train.jsonl`, `validation.csv`, `test-00000-of-00002.parquet`, ...; or `train/data-00000-of-00002.arrow`, as
/// `datasets.save_to_disk` writes them.
///
/// # Errors
/// If `dir` cannot be read, has no train file, has two files for one split, or lacks a part of one.
pub fn find_splits(dir: &Path) -> Result<SplitPaths, TaskError> {
    let names = names(dir)?;
    let train = find(dir, &names, TRAIN)?;
    if !train.is_empty() {
        return Ok(SplitPaths {
            train,
            dev: find(dir, &names, DEV)?,
            test: find(dir, &names, TEST)?,
        });
    }
    let data = dir.join("data");
    if data.is_dir() {
        return find_splits(&data);
    }
    let train = saved(dir, TRAIN)?;
    if !train.is_empty() {
        return Ok(SplitPaths {
            train,
            dev: saved(dir, DEV)?,
            test: saved(dir, TEST)?,
        });
    }
    Err(TaskError::file(
        dir.display().to_string(),
        format!(
            "found no training split among its files ({}), expected train.jsonl, train.json, train.csv, train.tsv, train.parquet or train.arrow",
            quote_list(&names)
        ),
    ))
}

/// The parts of a split that has its own folder.
fn saved(dir: &Path, stems: &[&str]) -> Result<Vec<PathBuf>, TaskError> {
    let folder = stems.iter().map(|stem| dir.join(stem));
    match folder.into_iter().find(|folder| folder.is_dir()) {
        Some(folder) => find(&folder, &names(&folder)?, &["data"]),
        None => Ok(Vec::new()),
    }
}

/// The names of the files in `dir`, sorted.
fn names(dir: &Path) -> Result<Vec<String>, TaskError> {
    let unreadable = |e: std::io::Error| {
        TaskError::file(
            dir.display().to_string(),
            format!("cannot be read as a directory: {e}"),
        )
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The files of a split, in order: one file, or all its parts; empty if the split does not exist.
fn find(dir: &Path, names: &[String], stems: &[&str]) -> Result<Vec<PathBuf>, TaskError> {
    let mut found: Vec<(&String, SplitPart<'_>)> = Vec::new();
    for name in names {
        let Some(part) = Format::from_name(name).and_then(|_| part(name)) else {
            continue;
        };
        if !stems.contains(&part.split) {
            continue;
        }
        if let Some((other, first)) = found.first()
            && (part.number.is_none() || (first.split, first.total) != (part.split, part.total))
        {
            return Err(TaskError::file(
                dir.join(name).display().to_string(),
                format!(
                    "{other} holds the same split, expected one file for each split, or all of its parts; remove one of them"
                ),
            ));
        }
        found.push((name, part));
    }
    let complete = found.iter().enumerate();
    let complete = complete.filter(|(at, (_, part))| part.number.is_none_or(|n| n == *at));
    let (complete, here) = (complete.count(), found.len());
    if let Some((name, part)) = found.first()
        && (complete < here || here != part.total)
    {
        return Err(TaskError::file(
            dir.join(name).display().to_string(),
            format!(
                "found {here} of the {} parts of the split, expected all, each once",
                part.total
            ),
        ));
    }
    Ok(found.into_iter().map(|(name, _)| dir.join(name)).collect())
}

/// The split and part that a file's name denotes.
struct SplitPart<'a> {
    split: &'a str,
    /// Number of the part, from 0; `None` for a split in one file.
    number: Option<usize>,
    /// Number of parts of the split.
    total: usize,
}

/// Parses a file name: `train-00000-of-00003.parquet` is the first of 3 parts of `train`, `train.csv` is all of it.
fn part(name: &str) -> Option<SplitPart<'_>> {
    let stem = Path::new(name).file_stem()?.to_str()?;
    let Some((rest, total)) = stem.rsplit_once("-of-") else {
        return Some(SplitPart {
            split: stem,
            number: None,
            total: 1,
        });
    };
    let (split, number) = rest.rsplit_once('-')?;
    Some(SplitPart {
        split,
        number: Some(number.parse().ok()?),
        total: total.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of empty files, removed on drop.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str, files: &[&str]) -> Self {
            let path =
                std::env::temp_dir().join(format!("apet-tasks-{name}-{}", std::process::id()));
            for file in files {
                let file = path.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "").unwrap();
            }
            Self(path)
        }

        fn found(&self) -> Result<[Vec<String>; 3], String> {
            let splits = find_splits(&self.0).map_err(|e| e.to_string())?;
            let name = |p: PathBuf| p.strip_prefix(&self.0).unwrap().display().to_string();
            let names = |paths: Vec<PathBuf>| paths.into_iter().map(name).collect();
            Ok([splits.train, splits.dev, splits.test].map(names))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn splits_are_found_by_name() {
        let d = Directory::new(
            "names",
            &[
                "train.jsonl",
                "dev.csv",
                "test.tsv",
                "train.md",
                "trainer.csv",
            ],
        );
        let names = ["train.jsonl", "dev.csv", "test.tsv"].map(|n| vec![n.to_owned()]);
        assert_eq!(d.found().unwrap(), names);
    }

    #[test]
    fn the_layout_of_the_hub_is_found() {
        let d = Directory::new(
            "hub",
            &[
                "README.md",
                "data/train-00001-of-00002.parquet",
                "data/train-00000-of-00002.parquet",
                "data/validation-00000-of-00001.parquet",
            ],
        );
        let [train, dev, test] = d.found().unwrap();
        let parts = [0, 1].map(|part| format!("data/train-0000{part}-of-00002.parquet"));
        assert_eq!(train, parts);
        assert_eq!(dev, ["data/validation-00000-of-00001.parquet"]);
        assert!(test.is_empty());
    }

    /// Files saved by `datasets` 5.2.0 (20 rows in two parts, and 5).
    #[test]
    fn files_saved_by_datasets_are_found_and_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/arrow");
        let mut spec = apet_record::RunSpec::new("m", "sst2").task;
        let files = find_splits(&folder).unwrap().read().unwrap();
        assert_eq!(
            (files.train.len(), files.dev.len(), files.test.len()),
            (2, 1, 0)
        );
        let task = crate::load(&spec, 0, files.clone()).unwrap();
        assert_eq!(
            (task.train.len(), task.dev.len() + task.test.len()),
            (20, 5)
        );
        assert_eq!(task.train[19].text, "train 19 schön");
        assert_eq!(task.train[19].answer, crate::Answer::Class(1));
        // Lists of texts, whole and real numbers.
        spec.name = "mine".into();
        spec.text_column = Some("sentence".into());
        spec.label_column = Some("answers".into());
        spec.metric = Some(apet_record::Metric::RougeL);
        let texts = crate::load(&spec, 0, files.clone()).unwrap();
        let right = crate::Answer::Texts(vec!["a 1".into(), "b 1".into()]);
        assert_eq!(texts.train[1].answer, right);
        spec.metric = None;
        spec.label_column = Some("weight".into());
        let numbers = crate::load(&spec, 0, files.clone()).unwrap();
        assert_eq!(numbers.labels[..3], ["0", "0.5", "1"]);
        spec.label_column = Some("nothing".into());
        let e = crate::load(&spec, 0, files.clone())
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("data-00000-of-00002.arrow") && e.contains("\"nothing\""),
            "{e}"
        );
        // A damaged file is an error that names it.
        for cut in [3, 40, files.train[0].bytes.len() - 20] {
            let mut files = files.clone();
            files.train[0].bytes.truncate(cut);
            spec.label_column = Some("idx".into());
            let read = crate::load(&spec, 0, files).map_err(|e| e.to_string());
            let damaged = |e: String| e.contains("data-00000-of-00002.arrow");
            assert!(read.is_err_and(damaged), "{cut}");
        }
    }

    #[test]
    fn ambiguous_files_are_errors() {
        let problem = |name, files: &[&str]| Directory::new(name, files).found().unwrap_err();
        let e = problem("none", &["a.txt", "train.txt"]);
        assert!(
            e.contains("found no training split among its files (\"a.txt\", \"train.txt\")"),
            "{e}"
        );
        let e = problem("two", &["train.csv", "train.jsonl"]);
        assert!(
            e.contains("train.jsonl: train.csv holds the same split"),
            "{e}"
        );
        for (name, parts) in [
            (
                "one",
                &[
                    "train-00000-of-00003.parquet",
                    "train-00002-of-00003.parquet",
                ][..],
            ),
            ("first", &["train-00001-of-00001.parquet"]),
        ] {
            let e = problem(name, parts);
            let (here, of) = (parts.len(), if name == "one" { 3 } else { 1 });
            let expected = format!("found {here} of the {of} parts of the split, expected all");
            assert!(e.contains(&expected), "{e}");
        }
        let e = problem("mixed", &["train-00000-of-00001.parquet", "train.csv"]);
        assert!(e.contains("holds the same split"), "{e}");
        let e = find_splits(Path::new("no such directory"))
            .unwrap_err()
            .to_string();
        assert!(
            e.starts_with("no such directory: cannot be read as a directory: "),
            "{e}"
        );
    }

    #[test]
    fn files_are_read_and_the_missing_one_is_named() {
        let d = Directory::new("read", &["train.csv"]);
        let mut splits = find_splits(&d.0).unwrap();
        let files = splits.read().unwrap();
        assert!(files.train[0].name.ends_with("train.csv") && files.dev.is_empty());
        splits.dev = vec![d.0.join("gone.csv")];
        assert!(
            splits
                .read()
                .unwrap_err()
                .to_string()
                .contains("gone.csv: cannot be read: ")
        );
    }
}
