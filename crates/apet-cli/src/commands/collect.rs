//! `apet collect`: a study's records as one table, as an archive, or as curves for other programs.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use apet_record::RunRecord;
use apet_store::{archive, write_atomic};
use apet_study::{COLUMNS, TableValue, key, table_values};

use crate::studies::parquet::Table;
use crate::studies::records::{WITHOUT_STEPS, main, others, paths, read};
use crate::studies::report::as_markdown;
use crate::studies::study_dir::StudyDir;
use crate::studies::{tensorboard, trackio};

/// Options of `apet collect`.
#[derive(Debug, clap::Args)]
pub(crate) struct CollectArgs {
    /// The study directory
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// Write the table to FILE.parquet or FILE.csv; or write FILE.zip, an archive of records, thetas and report for the
    /// page and apet import
    #[arg(
        short,
        long, alias = "out",
        value_name = "FILE",
        required_unless_present_any = ["tensorboard", "trackio"]
    )]
    output: Option<PathBuf>,
    /// Add other runs to the table: records, or results of peft's method comparison
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., requires = "output")]
    with: Vec<PathBuf>,
    /// Write every run's curves as TensorBoard event files, one directory a run
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Write all curves as the files of a static trackio page
    #[arg(long, value_name = "DIR")]
    trackio: Option<PathBuf>,
}

/// Writes a study's runs as one table, a row each, or their curves.
///
/// # Errors
/// Names the record that cannot be read; or when a file cannot be written.
pub(crate) fn collect(args: &CollectArgs) -> Result<()> {
    let folder = StudyDir::open(&args.study)?;
    if let Some(out) = &args.output
        && out.extension().is_some_and(|ending| ending == "zip")
    {
        ensure!(
            args.with.is_empty(),
            "--with belongs to a table, {} is an archive of the study alone",
            out.display()
        );
        archived(&folder, out)?;
    } else if let Some(out) = &args.output {
        table(&folder, &others(&args.with)?, out)?;
    }
    if let Some(logs) = &args.tensorboard {
        let write = |record: RunRecord| tensorboard::write(&record, logs);
        let written = read(&paths(&folder), RunRecord::parse, write)?;
        let written: Vec<()> = written.into_iter().collect::<Result<_>>()?;
        told(logs, written.len(), &folder);
    }
    if let Some(out) = &args.trackio {
        told(out, trackio::write(&folder, out)?, &folder);
    }
    Ok(())
}

fn table(folder: &StudyDir, others: &[RunRecord], path: &Path) -> Result<()> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let write = match &*ending {
        "parquet" => as_parquet,
        "csv" => as_csv,
        _ => bail!(
            "-o {}: expected a name that ends with .parquet, .csv or .zip",
            path.display()
        ),
    };
    let own = read(&paths(folder), WITHOUT_STEPS, |record| {
        (key(&record), table_values(&record))
    })?;
    let (mut known, mut rows): (HashSet<String>, Vec<_>) = own.into_iter().unzip();
    let own = rows.len();
    // The study's own records may be among the others, and these may have one twice.
    let new = others.iter().filter(|record| known.insert(key(record)));
    rows.extend(new.map(table_values));
    write_atomic(path, |out| write(&rows, out))?;
    told(path, own, folder);
    if !others.is_empty() {
        let new = rows.len() - own;
        let again = match others.len() - new {
            0 => String::new(),
            again => format!(", {again} were there already"),
        };
        println!("{}: {new} others{again}", path.display());
    }
    Ok(())
}

fn archived(folder: &StudyDir, path: &Path) -> Result<()> {
    let run = |record: PathBuf| {
        let id = record.file_stem().unwrap_or_default().to_string_lossy();
        let theta = folder.root.join(format!("thetas/{id}.safetensors"));
        archive::Run { record, theta }
    };
    let runs: Vec<archive::Run> = paths(folder).into_iter().map(run).collect();
    let report = as_markdown(folder, read(&main(folder), WITHOUT_STEPS, |record| record)?)?;
    let study = fs::read_to_string(folder.root.join("study.toml"))?;
    let beside = [("report.md", &report[..]), ("study.toml", &study)];
    write_atomic(path, |out| archive::write(out, &runs, &beside))?;
    told(path, runs.len(), folder);
    Ok(())
}

fn told(path: &Path, runs: usize, folder: &StudyDir) {
    println!(
        "{}: {runs} of {} runs",
        path.display(),
        folder.manifest.runs
    );
}

fn as_csv(rows: &[Vec<TableValue>], out: &mut dyn Write) -> Result<()> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(COLUMNS.map(|column| column.name))?;
    for row in rows {
        table.write_record(row.iter().map(|value| match value {
            TableValue::Text(text) => text.clone().unwrap_or_default(),
            TableValue::Whole(number) => number.map_or(String::new(), |n| n.to_string()),
            TableValue::Real(number) => number.map_or(String::new(), |x| x.to_string()),
        }))?;
    }
    Ok(table.flush()?)
}

fn as_parquet(rows: &[Vec<TableValue>], out: &mut dyn Write) -> Result<()> {
    let columns = COLUMNS.iter().map(|column| (column.name, column.kind));
    let mut table = Table::new(columns)?;
    table.add(rows)?;
    Ok(out.write_all(&table.end()?)?)
}
