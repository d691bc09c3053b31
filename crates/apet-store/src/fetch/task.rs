//! A task's splits, from a directory into the store.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use apet_record::RunSpec;
use apet_tasks::{Format, find_splits, load, sentences};

use crate::store::{Store, TASK_FILES, check_name, write_atomic};

/// Copies the splits in `from` into the store, or makes those of `sentences`.
///
/// # Errors
/// Names the file that is missing or cannot be read, and what was expected.
pub fn fetch_task(store: &Store, name: &str, from: &Path) -> Result<()> {
    check_name(name)?;
    ensure!(
        from.is_dir(),
        "{}: not found, expected a directory",
        from.display()
    );
    let splits = match review_files(from).filter(|_| name == "sentences") {
        Some([imdb, yelp, amazon]) => sentences(&read(&imdb)?, &read(&yelp)?, &read(&amazon)?)?,
        None => find_splits(from)?.read()?,
    };
    let task = load(&RunSpec::new("any", name).task, 0, splits.clone())?;
    let splits = [splits.train, splits.dev, splits.test];
    for split in splits.iter().flatten() {
        ensure!(
            Format::from_name(&split.name) == Some(Format::Jsonl),
            "{}: the store keeps JSON lines (.jsonl) only; use it in place with apet run --data {}",
            split.name,
            from.display()
        );
    }
    let folder = store.task(name);
    for (file, split) in TASK_FILES.iter().zip(&splits) {
        let path = folder.join(file);
        if !split.is_empty() {
            // Parts are lines, too: concatenated they are the whole.
            write_atomic(&path, |out| {
                for part in split {
                    out.write_all(&part.bytes)?;
                    if part.bytes.last().is_some_and(|&byte| byte != b'\n') {
                        out.write_all(b"\n")?;
                    }
                }
                Ok(())
            })?;
        } else if path.exists() {
            // A split of an earlier version of the task must not stay behind.
            fs::remove_file(&path)?;
        }
    }
    let [train, dev, test] = [task.train.len(), task.dev.len(), task.test.len()];
    let answers = match &task.labels[..] {
        [] => format!("answers are texts, scored by {}", task.metric.name()),
        labels => format!("labels {}", labels.join(", ")),
    };
    println!("{name}: {train} training, {dev} dev, {test} test rows; {answers}");
    if !task.split_note.is_empty() {
        println!("{name}: {}", task.split_note);
    }
    println!("{name}: in {}", folder.display());
    Ok(())
}

/// The three review files of the npm package `sentiment`, in it or in its folder of fixtures.
fn review_files(from: &Path) -> Option<[PathBuf; 3]> {
    [from.to_owned(), from.join("test/fixtures")]
        .map(|folder| ["imdb.json", "yelp.json", "amazon.json"].map(|file| folder.join(file)))
        .into_iter()
        .find(|files| files.iter().all(|file| file.is_file()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}
