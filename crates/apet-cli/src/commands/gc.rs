//! `apet gc`: removes what a study's workers left behind.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::studies::study_dir::{StudyDir, names};

/// Options of `apet gc`.
#[derive(Debug, clap::Args)]
pub(crate) struct GcArgs {
    /// The study directory
    #[arg(value_name = "DIR")]
    study: PathBuf,
}

/// Removes what workers left behind of runs that are done.
///
/// # Errors
/// When there is no study, or a file cannot be removed.
pub(crate) fn gc(args: &GcArgs) -> Result<()> {
    let folder = StudyDir::open(&args.study)?;
    let done = names(&folder.root.join("runs"));
    let mut count = 0;
    for entry in fs::read_dir(folder.root.join("work"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        let name = entry.file_name();
        if done.contains(&*name.to_string_lossy()) {
            fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
            count += 1;
        }
    }
    println!("{count} folders of runs that are done removed");
    Ok(())
}
