//! A model on a device.

use std::fs;

use anyhow::{Context, Result};
use apet_plm::{Dtype, Plm, PlmFiles};
use apet_store::{
    Store,
    weights::{find, weights},
};

use super::device::Opened;

/// Loads a model onto a device.
///
/// # Errors
/// When it is not there, or its files do not fit; the file and the field are named.
pub(crate) fn load(store: &Store, name: &str, dtype: Dtype, opened: &Opened) -> Result<Plm> {
    opened.keeps(dtype)?;
    let folder = find(store, name)?;
    let shown = folder.display().to_string();
    let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or(name);
    let read = |file: &str| {
        let path = folder.join(file);
        fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))
    };
    let config =
        String::from_utf8(read("config.json")?).with_context(|| format!("{shown}/config.json"))?;
    let tokenizer = read("tokenizer.json")?;
    let weights = weights(&folder, name).with_context(|| format!("model in {shown}"))?;
    let files = PlmFiles {
        name,
        config: &config,
        tokenizer: &tokenizer,
        weights: &*weights,
    };
    Plm::load(files, dtype, &opened.device).with_context(|| format!("model in {shown}"))
}
