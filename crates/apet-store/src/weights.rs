//! Where a model is, in the store or elsewhere, and its weights in any of the forms that they come in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use apet_checkpoint::{Safetensors, Weights, shards_of_index};

use crate::builtin;
use crate::mapped::Mapped;
use crate::pytorch::Pytorch;
use crate::store::Store;

/// The format that the store keeps weights in.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// The format of a directory's checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightsFormat {
    /// The file with the tensors, or the index that says which file has which.
    pub(crate) file: &'static str,
    /// How the names of an index's files end.
    shards: Option<&'static str>,
}

impl WeightsFormat {
    /// The one that the store has.
    pub(crate) const ONE_FILE: Self = Self::new(WEIGHTS, None);

    /// Where there are several, the first one counts.
    const ALL: [Self; 4] = [
        Self::ONE_FILE,
        Self::new("model.safetensors.index.json", Some(".safetensors")),
        Self::new("pytorch_model.bin", None),
        Self::new("pytorch_model.bin.index.json", Some(".bin")),
    ];

    /// What a reader is told to expect.
    pub(crate) const EXPECTED: &str =
        "model.safetensors, pytorch_model.bin, or the index and the shards of either";

    const fn new(file: &'static str, shards: Option<&'static str>) -> Self {
        Self { file, shards }
    }

    /// The format of a checkpoint among whose files is what `there` says.
    pub(crate) fn detect(there: impl Fn(&str) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|format| there(format.file))
    }

    /// The files with tensors. `shown` is the folder's name in errors.
    ///
    /// # Errors
    /// When the index in `folder` cannot be read, or is none.
    pub(crate) fn files(self, folder: &Path, shown: &str) -> Result<Vec<String>> {
        let Some(ending) = self.shards else {
            return Ok(vec![self.file.to_owned()]);
        };
        let path = folder.join(self.file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(shards_of_index(
            &format!("{shown}/{}", self.file),
            &text,
            ending,
        )?)
    }

    fn is_pickled(self) -> bool {
        self.file.starts_with("pytorch_model")
    }
}

/// The checkpoint of a directory, whatever its format. `name` is the directory's in errors.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn weights(folder: &Path, name: &str) -> Result<Box<dyn Weights>> {
    let format = WeightsFormat::detect(|file| folder.join(file).is_file()).with_context(|| {
        let path = folder.join(WEIGHTS);
        format!(
            "{}: not found, expected a directory with config.json, tokenizer.json and weights ({})",
            path.display(),
            WeightsFormat::EXPECTED
        )
    })?;
    let files = format.files(folder, name)?;
    let shown = format!("{name}/{}", format.file);
    if format.is_pickled() {
        let paths = files.iter().map(|file| folder.join(file));
        return Ok(Box::new(Pytorch::open(&shown, paths)?));
    }
    let open = |file: String| {
        let path = folder.join(&file);
        let mapped =
            Mapped::open(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        Ok((format!("{name}/{file}"), mapped))
    };
    let files: Vec<_> = files.into_iter().map(open).collect::<Result<_>>()?;
    Ok(Box::new(Safetensors::open(&shown, files)?))
}

/// The directory of a model.
///
/// # Errors
/// When it is neither in the store or in this binary nor a directory.
pub fn find(store: &Store, name: &str) -> Result<PathBuf> {
    builtin::install_builtin(store, |inside| inside == name)?;
    if store.models().iter().any(|m| m == name) {
        return Ok(store.model(name));
    }
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(fs::canonicalize(path)?);
    }
    let known = store.models().join(", ");
    bail!(
        "model {name:?} is not in the store ({}) and no directory; apet fetch {name} gets a known one",
        if known.is_empty() {
            "which is empty"
        } else {
            &known
        }
    )
}
