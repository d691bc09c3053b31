//! `apet retry`: a study's failed runs become pending.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::studies::study_dir::{Failure, StudyDir};

/// Options of `apet retry`.
#[derive(Debug, clap::Args)]
pub(crate) struct RetryArgs {
    /// The study directory
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// Retry only run N [default: all failed runs]
    #[arg(long, value_name = "N")]
    index: Option<usize>,
}

/// Marks failed runs as pending.
///
/// # Errors
/// When there is no study, or the named run did not fail.
pub(crate) fn retry(args: &RetryArgs) -> Result<()> {
    let folder = StudyDir::open(&args.study)?;
    let failed = folder.root.join("failed");
    let mut count = 0;
    for entry in fs::read_dir(&failed).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Some(index) = args.index {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let failure: Failure =
                serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            if failure.run != index {
                continue;
            }
        }
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        count += 1;
    }
    match (args.index, count) {
        (Some(index), 0) => anyhow::bail!("run {index} has not failed"),
        _ => println!(
            "{count} failed runs will be retried by: apet run --study {}",
            args.study.display()
        ),
    }
    Ok(())
}
