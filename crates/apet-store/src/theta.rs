//! theta files: where they are, and what they say of the run that made them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use apet_record::{RunRecord, RunSpec};

use crate::store::{Store, check_name};

/// How a run's theta file ends.
pub const ENDING: &str = "theta.safetensors";

/// A theta file with what is known of it.
#[derive(Debug)]
pub struct ThetaFile {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
    /// The run that made it, if its record is in the same directory.
    pub record: Option<RunRecord>,
}

impl ThetaFile {
    /// Opens a file, or the theta of a run of the store.
    ///
    /// # Errors
    /// When it is not there, is of several devices, or is no theta file.
    pub fn open(store: &Store, what: &str) -> Result<Self> {
        let path = match Path::new(what) {
            path if path.is_file() => path.to_path_buf(),
            _ => of_run(store, what)?,
        };
        let shown = path.display().to_string();
        let bytes = fs::read(&path).with_context(|| shown.clone())?;
        let header = safetensors::SafeTensors::read_metadata(&bytes);
        let (_, header) = header.with_context(|| format!("{shown}: expected a theta file"))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str());
        let record = name.and_then(|name| name.strip_suffix(ENDING));
        let record = record.map(|stem| path.with_file_name(format!("{stem}jsonl")));
        let record = match record.filter(|record| record.is_file()) {
            Some(record) => {
                let shown = record.display().to_string();
                let text = fs::read_to_string(&record).with_context(|| shown.clone())?;
                RunRecord::parse(&text).context(shown)?.pop()
            }
            None => None,
        };
        Ok(Self {
            path,
            bytes,
            metadata,
            record,
        })
    }

    /// Its name, for errors and cards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called without its ending.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let ending = [ENDING, "safetensors"].into_iter();
        let stem = ending.filter_map(|ending| name.strip_suffix(ending)?.strip_suffix('.'));
        stem.max_by_key(|stem| name.len() - stem.len())
            .unwrap_or(&name)
            .to_owned()
    }

    /// A value of the file's header.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The spec of the run that made it.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn spec(&self) -> Result<Option<RunSpec>> {
        let text = self.metadata.get("apet_spec");
        let spec = text.map(|text| RunSpec::from_json(text)).transpose();
        spec.with_context(|| self.path.display().to_string())
    }

    /// The model it stands on: the given one, or the spec's.
    ///
    /// # Errors
    /// When neither is known.
    pub fn model(&self, given: Option<&str>) -> Result<String> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        let spec = self.spec()?;
        spec.map(|spec| spec.model).with_context(|| {
            format!(
                "{}: says of no model; give --model NAME|DIR",
                self.path.display()
            )
        })
    }
}

/// The theta file of a run; a run that is there for several devices is told by its whole name.
fn of_run(store: &Store, run: &str) -> Result<PathBuf> {
    check_name(run).with_context(|| format!("{run}: no such file"))?;
    let entries = fs::read_dir(store.runs()).into_iter().flatten().flatten();
    let is_it = |name: &str| {
        let stem = name.strip_suffix(ENDING).and_then(|s| s.strip_suffix('.'));
        stem.is_some_and(|stem| stem == run || stem.starts_with(&format!("{run}-")))
    };
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_it))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => bail!("{run}: found no such file, and no run with a theta in the store"),
        several => {
            let names = several.iter().filter_map(|path| path.file_name()?.to_str());
            bail!(
                "{run}: is there for several devices; give one of {}",
                names.collect::<Vec<_>>().join(", ")
            )
        }
    }
}
