//! theta files: where they are, what they were made for, and reading them onto a model.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apet_plm::{Frozen, Kind, LayerHooks, Plm};
use apet_record::{Objective, Pooling, RunRecord, RunSpec};
use apet_theta::{Leaves, Theta};

use crate::store::{Store, check_name};

/// How a run's theta file ends.
pub(crate) const ENDING: &str = "theta.safetensors";

/// What an imported theta is for, in the file's header.
pub(crate) const OBJECTIVE: &str = "apet_objective";
/// The same of its head.
pub(crate) const POOLING: &str = "apet_pooling";

/// A theta file with what is known of it.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
    /// The run that made it, where its record is beside it.
    pub(crate) record: Option<RunRecord>,
}

impl File {
    /// Opens a file, or the theta of a run of the store.
    ///
    /// # Errors
    /// When it is not there, is of several devices, or is no theta file.
    pub(crate) fn open(store: &Store, what: &str) -> Result<Self> {
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
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called without its ending.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let ending = [ENDING, "safetensors"].into_iter();
        let stem = ending.filter_map(|ending| name.strip_suffix(ending)?.strip_suffix('.'));
        stem.max_by_key(|stem| name.len() - stem.len())
            .unwrap_or(&name)
            .to_owned()
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The spec of the run that made it.
    ///
    /// # Errors
    /// When it is there and can not be read.
    pub(crate) fn spec(&self) -> Result<Option<RunSpec>> {
        let text = self.metadata.get("apet_spec");
        let spec = text.map(|text| RunSpec::from_json(text)).transpose();
        spec.with_context(|| self.path.display().to_string())
    }

    /// The model it stands on: the given one, or the spec's.
    ///
    /// # Errors
    /// When neither is known.
    pub(crate) fn model(&self, given: Option<&str>) -> Result<String> {
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

    /// What it was learned for.
    ///
    /// # Errors
    /// When the file says something that is none.
    pub(crate) fn purpose(&self, plm: &Plm) -> Result<(Objective, Pooling)> {
        if let Some(spec) = self.spec()? {
            return Ok((spec.objective, spec.head.pooling));
        }
        let word = |key: &str| self.metadata.get(key).map(|word| serde_json::json!(word));
        let objective = match word(OBJECTIVE) {
            Some(word) => serde_json::from_value(word)?,
            None if plm.kind() == Kind::Encoder => Objective::ClassHead,
            None => Objective::LabelWords,
        };
        let pooling = match word(POOLING) {
            Some(word) => serde_json::from_value(word)?,
            None => Pooling::default(),
        };
        Ok((objective, pooling))
    }

    /// Puts it onto its model.
    ///
    /// # Errors
    /// Names what does not fit.
    pub(crate) fn onto(&self, plm: &Plm) -> Result<Theta> {
        let theta = Theta::read(plm, &self.bytes);
        theta.with_context(|| self.path.display().to_string())
    }
}

/// A theta for forward passes without gradients; or none, and the model is as it is.
pub(crate) struct Constant(Option<(Theta, Leaves)>);

impl Constant {
    /// Puts the theta of an option onto its model, where one is given.
    ///
    /// # Errors
    /// As [`File::open`] and [`File::onto`].
    pub(crate) fn of(store: &Store, given: Option<&str>, plm: &Plm) -> Result<Self> {
        let theta = given.map(|given| File::open(store, given)?.onto(plm));
        let theta = theta.transpose()?;
        Ok(Self(theta.map(|theta| {
            let constants = theta.constants();
            (theta, constants)
        })))
    }

    /// What it does in a forward pass.
    pub(crate) fn tap(&self) -> Box<dyn LayerHooks + '_> {
        match &self.0 {
            Some((theta, constants)) => Box::new(theta.tap(constants)),
            None => Box::new(Frozen),
        }
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

/// Reads theta's values.
///
/// # Errors
/// When the device fails.
pub(crate) fn values(theta: &Theta) -> Result<Vec<f32>> {
    let data = futures_lite::future::block_on(theta.values().into_data_async())?;
    let values: Vec<f32> = data.iter::<f32>().collect();
    ensure!(
        values.iter().all(|v| v.is_finite()),
        "theta has values that are no numbers"
    );
    Ok(values)
}
