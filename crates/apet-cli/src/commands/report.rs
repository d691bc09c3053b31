//! `apet report`: what a study found.

use std::path::PathBuf;

use anyhow::{Result, bail};
use apet_record::{Line, RunRecord};
use apet_store::write_atomic;

use crate::studies::records::{WITHOUT_STEPS, main, others, read};
use crate::studies::report::{as_markdown, as_page};
use crate::studies::study_dir::StudyDir;

/// Runs of a study whose losses are in its page; the steps of more would make it too large.
const WITH_LOSSES: usize = 1_000;

/// Steps of a run whose losses are in its page.
const LOSSES: usize = 100;

/// Options of `apet report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The study directory
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// Write a page in one file (.html) or Markdown (.md) [default: print Markdown]
    #[arg(short, long, alias = "out", value_name = "FILE.html|FILE.md")]
    output: Option<PathBuf>,
    /// Add other runs for comparison: records, or results of peft's method comparison
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    with: Vec<PathBuf>,
}

/// Writes what a study found.
///
/// # Errors
/// Names the record that cannot be read; or when the report cannot be written.
pub(crate) fn report(args: &ReportArgs) -> Result<()> {
    let folder = StudyDir::open(&args.study)?;
    let ending = args.output.as_ref().and_then(|path| path.extension());
    let ending = ending.map(|ending| ending.to_string_lossy());
    let is_page = match ending.as_deref() {
        None | Some("md") => false,
        Some("html") => true,
        Some(other) => bail!("-o: found the ending .{other}, expected .html or .md"),
    };
    let mut records = match is_page && folder.manifest.runs <= WITH_LOSSES {
        true => read(&main(&folder), RunRecord::parse, thinned)?,
        false => read(&main(&folder), WITHOUT_STEPS, |record| record)?,
    };
    records.extend(others(&args.with)?);
    let text = match is_page {
        true => as_page(&folder, &records)?,
        false => as_markdown(&folder, records)?,
    };
    match &args.output {
        None => print!("{text}"),
        Some(path) => {
            write_atomic(path, |out| Ok(out.write_all(text.as_bytes())?))?;
            println!("{}: written", path.display());
        }
    }
    Ok(())
}

/// A record with at most [`LOSSES`] of its steps, evenly chosen, the last one among them.
fn thinned(mut record: RunRecord) -> RunRecord {
    let steps = record.steps().len();
    let every = steps.div_ceil(LOSSES).max(1);
    record.lines.retain(|line| match line {
        Line::Step(step) => step.step.is_multiple_of(every) || step.step == steps,
        _ => true,
    });
    record
}
