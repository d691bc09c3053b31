//! Records, thetas and a report in one zip file, as the page saves and opens it too.
//!
//! ```text
//! runs/RUNID-DEVICE.jsonl          records
//! thetas/RUNID-DEVICE.safetensors  what they tuned
//! report.md
//! study.toml                       the grid, of a study
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use apet_record::{RunRecord, record_name};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::store::{Store, check_name, write_atomic};
use crate::theta;

/// The largest record that is unpacked: a small archive can hold what is very large.
const LARGEST_RECORD: u64 = 256 << 20;
/// The largest theta.
const LARGEST_THETA: u64 = 16 << 30;

/// A run as it goes into an archive.
pub struct Run {
    /// Its record.
    pub record: PathBuf,
    /// Where its theta is, if it is there.
    pub theta: PathBuf,
}

/// Writes an archive of runs, with further texts by name.
///
/// # Errors
/// Names the record that cannot be read; or when the archive cannot be written.
pub fn write(out: &mut dyn Write, runs: &[Run], beside: &[(&str, &str)]) -> Result<()> {
    let mut zip = ZipWriter::new_stream(out);
    let packed = SimpleFileOptions::default();
    // Numbers do not pack: they are stored as they are.
    let stored = packed.compression_method(CompressionMethod::Stored);
    for (name, text) in beside {
        zip.start_file(*name, packed)?;
        zip.write_all(text.as_bytes())?;
    }
    for run in runs {
        let at = || run.record.display().to_string();
        let text = std::fs::read_to_string(&run.record).with_context(at)?;
        let records = RunRecord::parse_without_steps(&text).with_context(at)?;
        let header = &records.first().with_context(at)?.header;
        let name = record_name(&header.run, &header.device.name);
        zip.start_file(format!("runs/{name}.jsonl"), packed)?;
        zip.write_all(text.as_bytes())?;
        if let Ok(mut theta) = File::open(&run.theta) {
            // Where it need not be, no reader of the page's expects it.
            let is_large = theta.metadata()?.len() >= u64::from(u32::MAX);
            let options = stored.large_file(is_large);
            zip.start_file(format!("thetas/{name}.safetensors"), options)?;
            io::copy(&mut theta, &mut zip)?;
        }
    }
    zip.finish()?;
    Ok(())
}

/// The records of an archive.
///
/// # Errors
/// When it is no archive, or names the record that cannot be read.
pub fn records(path: &Path) -> Result<Vec<RunRecord>> {
    let mut zip = open(path)?;
    let mut records = Vec::new();
    for name in names(&zip) {
        let text = text(&mut zip, &name)?;
        records.extend(RunRecord::parse(&text).with_context(|| name.clone())?);
    }
    Ok(records)
}

/// Brings the runs of an archive into the store; one that is there stays as it is. Gives how many came, and how many
/// were there.
///
/// # Errors
/// When it is no archive, names the record that cannot be read, or when the store cannot be written. What came before
/// is whole.
pub fn import_runs(store: &Store, path: &Path) -> Result<(usize, usize)> {
    let mut zip = open(path)?;
    let (mut came, mut there) = (0, 0);
    for entry in names(&zip) {
        let text = text(&mut zip, &entry)?;
        let records = RunRecord::parse(&text).with_context(|| entry.clone())?;
        let [record] = &records[..] else {
            anyhow::bail!("{entry}: found {} records, expected one", records.len());
        };
        let name = record_name(&record.header.run, &record.header.device.name);
        check_name(&name).with_context(|| entry.clone())?;
        let kept = store.runs().join(format!("{name}.jsonl"));
        if kept.exists() {
            there += 1;
            continue;
        }
        let stem = entry.strip_prefix("runs/").unwrap_or(&entry);
        let stem = stem.strip_suffix(".jsonl").unwrap_or(stem);
        if let Ok(tuned) = zip.by_name(&format!("thetas/{stem}.safetensors")) {
            let to = store.runs().join(format!("{name}.{}", theta::ENDING));
            write_atomic(&to, |out| copy(tuned, LARGEST_THETA, out))?;
        }
        // The record last: a run whose record is there has all that belongs to it.
        write_atomic(&kept, |out| Ok(out.write_all(text.as_bytes())?))?;
        came += 1;
    }
    Ok((came, there))
}

fn open(path: &Path) -> Result<ZipArchive<File>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| shown.to_string())?;
    let zip = ZipArchive::new(file);
    let zip = zip.with_context(|| format!("{shown}: expected an archive of runs (zip)"))?;
    ensure!(
        !names(&zip).is_empty(),
        "{shown}: found no record, expected runs/*.jsonl in it"
    );
    Ok(zip)
}

/// Its records by name, in their order.
fn names(zip: &ZipArchive<File>) -> Vec<String> {
    let is_record = |name: &String| name.starts_with("runs/") && name.ends_with(".jsonl");
    // A name that cannot be read is none of ours.
    let names = zip.file_names().flatten().map(std::borrow::Cow::into_owned);
    let mut names: Vec<String> = names.filter(is_record).collect();
    names.sort_unstable();
    names
}

fn text<R: Read + Seek>(zip: &mut ZipArchive<R>, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    copy(zip.by_name(name)?, LARGEST_RECORD, &mut bytes).with_context(|| name.to_owned())?;
    String::from_utf8(bytes).with_context(|| format!("{name}: expected text"))
}

/// Copies what may be as large as this.
fn copy(from: impl Read, most: u64, to: &mut (impl Write + ?Sized)) -> Result<()> {
    let copied = io::copy(&mut from.take(most + 1), to)?;
    ensure!(copied <= most, "is larger than {most} bytes");
    Ok(())
}
