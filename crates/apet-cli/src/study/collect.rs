//! `apet collect` and `apet report`: a study's records as one table, and what they say.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use apet_record::{Line, RecordError, RunRecord};
use apet_study::{COLUMNS, Flat, Kind, Study, flat};
use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::{Compression, write::GzEncoder};
use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::Folder;
use crate::builtin;
use crate::store::write_atomic;

/// What stands in the page where the study belongs.
const STUDY: &str = "STUDY";

/// Runs of a study whose losses are in its page; the steps of more would make it too large.
const WITH_LOSSES: usize = 1_000;

/// Steps of a run whose losses are in its page.
const LOSSES: usize = 100;

/// How records are read.
type Parse = fn(&str) -> Result<Vec<RunRecord>, RecordError>;

const WITHOUT_STEPS: Parse = RunRecord::parse_without_steps;

/// Rows that are written at once.
const ROWS: usize = 10_000;

/// Which study, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct CollectArgs {
    /// The study's folder
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// The table: FILE.parquet or FILE.csv
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

/// Which study, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The study's folder
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// Write it, as a page in one file (.html) or as Markdown (.md), instead of printing it as Markdown
    #[arg(short, long, value_name = "FILE.html|FILE.md")]
    out: Option<PathBuf>,
}

/// Writes a study's runs as one table, a row each.
///
/// # Errors
/// Names the record that can not be read; or when the table can not be written.
pub(crate) fn collect(args: &CollectArgs) -> Result<()> {
    let folder = Folder::open(&args.study)?;
    let ending = args.out.extension().unwrap_or_default().to_string_lossy();
    let write = match &*ending {
        "parquet" => as_parquet,
        "csv" => as_csv,
        _ => bail!(
            "-o {}: expected a name that ends with .parquet or .csv",
            args.out.display()
        ),
    };
    let rows = read(&folder, WITHOUT_STEPS, |record| flat(&record))?;
    write_atomic(&args.out, |out| write(&rows, out))?;
    let (rows, runs) = (rows.len(), folder.about.runs);
    println!("{}: {rows} of {runs} runs", args.out.display());
    Ok(())
}

/// Writes what a study found.
///
/// # Errors
/// Names the record that can not be read; or when the report can not be written.
pub(crate) fn report(args: &ReportArgs) -> Result<()> {
    let folder = Folder::open(&args.study)?;
    let ending = args.out.as_ref().and_then(|path| path.extension());
    let text = match ending.map(|ending| ending.to_string_lossy()).as_deref() {
        None | Some("md") => as_markdown(&folder, read(&folder, WITHOUT_STEPS, |r| r)?)?,
        Some("html") if folder.about.runs <= WITH_LOSSES => {
            as_page(&folder, &read(&folder, RunRecord::parse, thinned)?)?
        }
        Some("html") => as_page(&folder, &read(&folder, WITHOUT_STEPS, |r| r)?)?,
        Some(other) => bail!("-o: found the ending .{other}, expected .html or .md"),
    };
    match &args.out {
        None => print!("{text}"),
        Some(path) => {
            write_atomic(path, |out| Ok(out.write_all(text.as_bytes())?))?;
            println!("{}: written", path.display());
        }
    }
    Ok(())
}

fn as_markdown(folder: &Folder, records: Vec<RunRecord>) -> Result<String> {
    let mut study = Study::new();
    for record in records {
        study.insert("study", record)?;
    }
    let grid = folder.plan.grid();
    let mut text = study.report(&grid.name, &grid.about);
    let missing = missing(folder);
    if !missing.is_empty() {
        text = format!("{text}\n## Missing\n\n{missing}\n");
    }
    Ok(text)
}

/// The viewer of the page with the study's records inside.
fn as_page(folder: &Folder, records: &[RunRecord]) -> Result<String> {
    let page = builtin::Embedded::get("report.html");
    let page =
        page.context("this build has no page inside: cargo xtask build makes one that has")?;
    let page = String::from_utf8(page.data.into_owned())?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    for record in records {
        packed.write_all(record.to_jsonl().as_bytes())?;
    }
    let grid = folder.plan.grid();
    let study = serde_json::json!({
        "name": grid.name,
        "about": grid.about,
        "missing": missing(folder),
        "records": BASE64_STANDARD.encode(packed.finish()?),
    });
    // A name that ends the script would end the page.
    let study = study.to_string().replace('<', "\\u003c");
    let (before, after) = page
        .split_once(STUDY)
        .context("the page inside has no place for a study")?;
    Ok([before, &study, after].concat())
}

/// Which of a study's runs have no record.
fn missing(folder: &Folder) -> String {
    let (mut open, mut all) = (Vec::new(), 0);
    for run in 0..folder.about.runs {
        let id = folder.spec(run).map(|spec| spec.id());
        if id.is_none_or(|id| !folder.record(&id).exists()) {
            all += 1;
            if open.len() < 20 {
                open.push(run.to_string());
            }
        }
    }
    if all == 0 {
        return String::new();
    }
    let more = if all > open.len() { ", ..." } else { "" };
    let runs = folder.about.runs;
    format!(
        "{all} of {runs} runs are not done: {}{more}.",
        open.join(", ")
    )
}

/// The study's records, read by all cores, in the order of their ids.
fn read<T: Send>(
    folder: &Folder,
    parse: Parse,
    of: impl Fn(RunRecord) -> T + Sync,
) -> Result<Vec<T>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.root.join("runs"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    paths.sort_unstable();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = paths.len().div_ceil(threads).max(1);
    let one = |path: &PathBuf| Ok(of(record(path, parse)?));
    let parts: Vec<Result<Vec<T>>> = thread::scope(|scope| {
        let parts = paths.chunks(share);
        let workers = parts.map(|part| scope.spawn(move || part.iter().map(one).collect()));
        let workers: Vec<_> = workers.collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|part| part.unwrap_or_else(|_| bail!("a thread ended early")))
            .collect()
    });
    let mut all = Vec::with_capacity(paths.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
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

fn record(path: &Path, parse: Parse) -> Result<RunRecord> {
    let at = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(at)?;
    let mut records = parse(&text).with_context(at)?;
    ensure!(
        records.len() == 1,
        "{}: found {} records, expected one",
        at(),
        records.len()
    );
    records.pop().with_context(at)
}

fn as_csv(rows: &[Vec<Flat>], out: &mut dyn Write) -> Result<()> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(COLUMNS.map(|column| column.name))?;
    for row in rows {
        table.write_record(row.iter().map(|value| match value {
            Flat::Text(text) => text.clone().unwrap_or_default(),
            Flat::Whole(number) => number.map_or(String::new(), |n| n.to_string()),
            Flat::Real(number) => number.map_or(String::new(), |x| x.to_string()),
        }))?;
    }
    Ok(table.flush()?)
}

fn as_parquet(rows: &[Vec<Flat>], out: &mut dyn Write) -> Result<()> {
    let fields = COLUMNS.iter().map(|column| {
        let (physical, meaning) = match column.kind {
            Kind::Text => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
            Kind::Whole => (Physical::INT64, ConvertedType::NONE),
            Kind::Real => (Physical::DOUBLE, ConvertedType::NONE),
        };
        let field = Type::primitive_type_builder(column.name, physical);
        let field = field.with_repetition(Repetition::OPTIONAL);
        Ok(Arc::new(field.with_converted_type(meaning).build()?))
    });
    let fields: Result<Vec<_>> = fields.collect();
    let schema = Type::group_type_builder("runs")
        .with_fields(fields?)
        .build()?;
    let properties = WriterProperties::builder();
    let properties = properties
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut bytes = Vec::new();
    let mut table = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    for rows in rows.chunks(ROWS) {
        let mut group = table.next_row_group()?;
        for at in 0..COLUMNS.len() {
            let Some(mut column) = group.next_column()? else {
                bail!("a column is missing");
            };
            write_column(column.untyped(), rows.iter().map(|row| &row[at]))?;
            column.close()?;
        }
        group.close()?;
    }
    table.close()?;
    Ok(out.write_all(&bytes)?)
}

/// Writes the values that are there, and for each row whether it has one.
fn write_column<'a>(
    column: &mut ColumnWriter<'_>,
    values: impl Iterator<Item = &'a Flat>,
) -> Result<()> {
    let (mut there, mut texts, mut whole, mut real) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let is_there = match value {
            Flat::Text(text) => text
                .as_deref()
                .map(|text| texts.push(ByteArray::from(text))),
            Flat::Whole(number) => number.map(|number| whole.push(number)),
            Flat::Real(number) => number.map(|number| real.push(number)),
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
