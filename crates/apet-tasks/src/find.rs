//! The files of a task in a directory, natively only.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{TaskError, listed};
use crate::load::SplitFiles;
use crate::read::{Format, SplitFile};

const TRAIN: &[&str] = &["train"];
const DEV: &[&str] = &["validation", "valid", "val", "dev", "validation_matched"];
const TEST: &[&str] = &["test", "test_matched"];

/// Where the splits of a task are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPaths {
    /// `train.*`
    pub train: PathBuf,
    /// `validation.*`, `valid.*`, `val.*` or `dev.*`
    pub dev: Option<PathBuf>,
    /// `test.*`
    pub test: Option<PathBuf>,
}

impl SplitPaths {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file that can not be read.
    pub fn read(&self) -> Result<SplitFiles, TaskError> {
        Ok(SplitFiles {
            train: read(&self.train)?,
            dev: self.dev.as_deref().map(read).transpose()?,
            test: self.test.as_deref().map(read).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<SplitFile, TaskError> {
    let name = path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => Ok(SplitFile { name, bytes }),
        Err(e) => Err(TaskError::file(name, format!("can not be read: {e}"))),
    }
}

/// The splits in `dir`, or in its folder `data` as on the Hugging Face hub:
/// `train.jsonl`, `validation.csv`, `test-00000-of-00001.parquet`, ...
///
/// # Errors
/// When `dir` can not be read, has no train file, two files for one split, or a
/// split cut into several files.
pub fn find_splits(dir: &Path) -> Result<SplitPaths, TaskError> {
    let names = names(dir)?;
    if let Some(train) = find(dir, &names, TRAIN)? {
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
    Err(TaskError::file(
        dir.display().to_string(),
        format!(
            "found no training split among its files ({}), expected train.jsonl, train.json, train.csv, train.tsv or train.parquet",
            listed(&names)
        ),
    ))
}

/// The names of the files in `dir`, sorted.
fn names(dir: &Path) -> Result<Vec<String>, TaskError> {
    let unreadable = |e: std::io::Error| {
        TaskError::file(
            dir.display().to_string(),
            format!("can not be read as a directory: {e}"),
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

/// The one file that holds a split, if there is any.
fn find(dir: &Path, names: &[String], stems: &[&str]) -> Result<Option<PathBuf>, TaskError> {
    let mut found: Option<&String> = None;
    for name in names {
        let Some((stem, shards)) = Format::of(name).and_then(|_| stem(name)) else {
            continue;
        };
        if !stems.contains(&stem) {
            continue;
        }
        let refuse = |problem| {
            Err(TaskError::file(
                dir.join(name).display().to_string(),
                problem,
            ))
        };
        if shards > 1 {
            return refuse(format!(
                "the split is cut into {shards} files, expected 1; join them into one file"
            ));
        }
        if let Some(other) = found {
            return refuse(format!(
                "{other} holds the same split, expected one file a split; move one away"
            ));
        }
        found = Some(name);
    }
    Ok(found.map(|name| dir.join(name)))
}

/// `train-00000-of-00003.parquet` is `train`, cut into 3; `train.csv` is `train`, in 1.
fn stem(name: &str) -> Option<(&str, usize)> {
    let stem = Path::new(name).file_stem()?.to_str()?;
    let Some((rest, of)) = stem.rsplit_once("-of-") else {
        return Some((stem, 1));
    };
    let (split, part) = rest.rsplit_once('-')?;
    part.parse::<usize>().ok()?;
    Some((split, of.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of empty files that is removed at the end.
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

        fn found(&self) -> Result<[Option<String>; 3], String> {
            let splits = find_splits(&self.0).map_err(|e| e.to_string())?;
            let name = |p: PathBuf| p.strip_prefix(&self.0).unwrap().display().to_string();
            Ok([Some(splits.train), splits.dev, splits.test].map(|p| p.map(name)))
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
        let names = ["train.jsonl", "dev.csv", "test.tsv"].map(|n| Some(n.to_owned()));
        assert_eq!(d.found().unwrap(), names);
    }

    #[test]
    fn the_layout_of_the_hub_is_found() {
        let d = Directory::new(
            "hub",
            &[
                "README.md",
                "data/train-00000-of-00001.parquet",
                "data/validation-00000-of-00001.parquet",
            ],
        );
        let [train, dev, test] = d.found().unwrap();
        assert_eq!(train.as_deref(), Some("data/train-00000-of-00001.parquet"));
        assert_eq!(
            dev.as_deref(),
            Some("data/validation-00000-of-00001.parquet")
        );
        assert_eq!(test, None);
    }

    #[test]
    fn what_is_not_clear_is_refused() {
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
        let e = problem("shards", &["train-00000-of-00002.parquet"]);
        assert!(e.contains("cut into 2 files, expected 1"), "{e}");
        let e = find_splits(Path::new("no such directory"))
            .unwrap_err()
            .to_string();
        assert!(
            e.starts_with("no such directory: can not be read as a directory: "),
            "{e}"
        );
    }

    #[test]
    fn files_are_read_and_the_missing_one_is_named() {
        let d = Directory::new("read", &["train.csv"]);
        let mut splits = find_splits(&d.0).unwrap();
        let files = splits.read().unwrap();
        assert!(files.train.name.ends_with("train.csv") && files.dev.is_none());
        splits.dev = Some(d.0.join("gone.csv"));
        assert!(
            splits
                .read()
                .unwrap_err()
                .to_string()
                .contains("gone.csv: can not be read: ")
        );
    }
}
