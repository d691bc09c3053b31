//! `apet collect` and `apet report`: a study's records as one table, and what they say.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use apet_record::{Line, RecordError, RunRecord};
use apet_store::{archive, builtin, write_atomic};
use apet_study::{COLUMNS, Flat, Stage, Study, flat, key};
use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::{Compression, write::GzEncoder};

use super::parquet::Table;
use super::{Folder, tensorboard, trackio};

/// What stands in the page where the study belongs.
const STUDY: &str = "STUDY";

/// Runs of a study whose losses are in its page; the steps of more would make it too large.
const WITH_LOSSES: usize = 1_000;

/// Steps of a run whose losses are in its page.
const LOSSES: usize = 100;

/// How records are read.
pub(super) type Parse = fn(&str) -> Result<Vec<RunRecord>, RecordError>;

pub(super) const WITHOUT_STEPS: Parse = RunRecord::parse_without_steps;

/// Which study, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct CollectArgs {
    /// The study's folder
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// The table, FILE.parquet or FILE.csv; or FILE.zip, an archive of records, thetas and report that the page opens and
    /// apet import takes
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present_any = ["tensorboard", "trackio"]
    )]
    out: Option<PathBuf>,
    /// Other runs in the table: records, or results of peft's method comparison
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., requires = "out")]
    with: Vec<PathBuf>,
    /// Every run's curves as TensorBoard's event files, in a folder each
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// All curves as the files of a static trackio page
    #[arg(long, value_name = "DIR")]
    trackio: Option<PathBuf>,
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
    /// Other runs beside the study's: records, or results of peft's method comparison
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    with: Vec<PathBuf>,
}

/// Writes a study's runs as one table, a row each, or their curves.
///
/// # Errors
/// Names the record that can not be read; or when a file can not be written.
pub(crate) fn collect(args: &CollectArgs) -> Result<()> {
    let folder = Folder::open(&args.study)?;
    if let Some(out) = &args.out
        && out.extension().is_some_and(|ending| ending == "zip")
    {
        ensure!(
            args.with.is_empty(),
            "--with belongs to a table, {} is an archive of the study alone",
            out.display()
        );
        archived(&folder, out)?;
    } else if let Some(out) = &args.out {
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

fn table(folder: &Folder, others: &[RunRecord], path: &Path) -> Result<()> {
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
        (key(&record), flat(&record))
    })?;
    let (mut known, mut rows): (HashSet<String>, Vec<_>) = own.into_iter().unzip();
    let own = rows.len();
    // The study's own records may be among the others, and these may have one twice.
    let new = others.iter().filter(|record| known.insert(key(record)));
    rows.extend(new.map(flat));
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

fn archived(folder: &Folder, path: &Path) -> Result<()> {
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

fn told(path: &Path, runs: usize, folder: &Folder) {
    println!("{}: {runs} of {} runs", path.display(), folder.about.runs);
}

/// Writes what a study found.
///
/// # Errors
/// Names the record that can not be read; or when the report can not be written.
pub(crate) fn report(args: &ReportArgs) -> Result<()> {
    let folder = Folder::open(&args.study)?;
    let ending = args.out.as_ref().and_then(|path| path.extension());
    let ending = ending.map(|ending| ending.to_string_lossy());
    let is_page = match ending.as_deref() {
        None | Some("md") => false,
        Some("html") => true,
        Some(other) => bail!("-o: found the ending .{other}, expected .html or .md"),
    };
    let mut records = match is_page && folder.about.runs <= WITH_LOSSES {
        true => read(&main(&folder), RunRecord::parse, thinned)?,
        false => read(&main(&folder), WITHOUT_STEPS, |record| record)?,
    };
    records.extend(others(&args.with)?);
    let text = match is_page {
        true => as_page(&folder, &records)?,
        false => as_markdown(&folder, records)?,
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
    let mut text = study.report(&grid.name, &grid.about, None);
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

/// The study's records, in the order of their ids.
pub(super) fn paths(folder: &Folder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.root.join("runs")).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    paths.sort_unstable();
    paths
}

/// Those of the main stage: a run that chose a learning rate is no evidence of what that rate is worth.
fn main(folder: &Folder) -> Vec<PathBuf> {
    let runs = folder.plan.of_stage(Stage::Main);
    let specs = runs.filter_map(|run| folder.spec(run));
    let mut paths: Vec<PathBuf> = specs.map(|spec| folder.record(&spec.id())).collect();
    paths.retain(|path| path.exists());
    paths.sort_unstable();
    paths
}

/// The records in files, and in the files of folders.
///
/// # Errors
/// Names the file that can not be read.
fn others(with: &[PathBuf]) -> Result<Vec<RunRecord>> {
    let mut files = Vec::new();
    for path in with {
        let at = || path.display().to_string();
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        for entry in fs::read_dir(path).with_context(at)? {
            let file = entry.with_context(at)?.path();
            let ending = file.extension().unwrap_or_default();
            if ending == "json" || ending == "jsonl" || ending == "zip" {
                files.push(file);
            }
        }
        ensure!(
            files.len() > before,
            "{}: found no .json, .jsonl or .zip file, expected records, or results of peft's method comparison",
            at()
        );
        files[before..].sort_unstable();
    }
    let mut all = Vec::new();
    for file in files {
        let at = || file.display().to_string();
        if file.extension().is_some_and(|ending| ending == "zip") {
            all.extend(archive::records(&file).with_context(at)?);
            continue;
        }
        let text = fs::read_to_string(&file).with_context(at)?;
        all.extend(apet_study::records(&text).with_context(at)?);
    }
    Ok(all)
}

/// Records, read by all cores, in the order of their paths.
///
/// # Errors
/// Names the one that can not be read.
pub(super) fn read<T: Send>(
    paths: &[PathBuf],
    parse: Parse,
    of: impl Fn(RunRecord) -> T + Sync,
) -> Result<Vec<T>> {
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
    let columns = COLUMNS.iter().map(|column| (column.name, column.kind));
    let mut table = Table::new(columns)?;
    table.add(rows)?;
    Ok(out.write_all(&table.end()?)?)
}
