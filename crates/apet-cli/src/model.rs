//! A model by name from the store, or from a Hugging Face directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use apet_plm::{Plm, PlmFiles};
use burn::tensor::Device;

use crate::store::{MODEL_FILES, Store};

/// Loads a model onto a device.
///
/// # Errors
/// When it is not there, or its files do not fit; the file and the field are named.
pub(crate) fn load(store: &Store, name: &str, device: &Device) -> Result<Plm> {
    let folder = find(store, name)?;
    let read = |file: &str| {
        let path = folder.join(file);
        fs::read(&path).with_context(|| format!("{}: can not be read", path.display()))
    };
    let [config, tokenizer, weights] = MODEL_FILES.map(read);
    let config =
        String::from_utf8(config?).with_context(|| format!("{}/config.json", folder.display()))?;
    let shown = folder.display().to_string();
    let files = PlmFiles {
        name: folder.file_name().and_then(|n| n.to_str()).unwrap_or(name),
        config: &config,
        tokenizer: &tokenizer?,
        weights: &weights?,
    };
    Plm::load(files, device).with_context(|| format!("model in {shown}"))
}

fn find(store: &Store, name: &str) -> Result<PathBuf> {
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
