//! A model by name from the store, or from a Hugging Face directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use apet_plm::{Number, Plm, PlmFiles, Safetensors, Weights, shards_of_index};
use burn::tensor::Device;

use crate::mapped::Mapped;
use crate::pytorch::Pytorch;
use crate::store::Store;

/// Where a sharded checkpoint says which tensor is in which file.
const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";
const PICKLED: &str = "pytorch_model.bin";

/// Loads a model onto a device.
///
/// # Errors
/// When it is not there, or its files do not fit; the file and the field are named.
pub(crate) fn load(store: &Store, name: &str, number: Number, device: &Device) -> Result<Plm> {
    let folder = find(store, name)?;
    let shown = folder.display().to_string();
    let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or(name);
    let read = |file: &str| {
        let path = folder.join(file);
        fs::read(&path).with_context(|| format!("{}: can not be read", path.display()))
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
    Plm::load(files, number, device).with_context(|| format!("model in {shown}"))
}

/// The checkpoint of a directory: one file, the shards of its index, or PyTorch's.
///
/// # Errors
/// When there is none, or it can not be read.
pub(crate) fn weights(folder: &Path, name: &str) -> Result<Box<dyn Weights>> {
    let index = folder.join(INDEX);
    let there = |file: &str| folder.join(file).is_file();
    if there(PICKLED) && !there(WEIGHTS) && !there(INDEX) {
        return Ok(Box::new(Pytorch::open(&folder.join(PICKLED))?));
    }
    let (file, shards) = if there(WEIGHTS) || !there(INDEX) {
        (WEIGHTS, vec![WEIGHTS.to_owned()])
    } else {
        let text = fs::read_to_string(&index).with_context(|| index.display().to_string())?;
        (INDEX, shards_of_index(&format!("{name}/{INDEX}"), &text)?)
    };
    let open = |shard: String| {
        let path = folder.join(&shard);
        let mapped =
            Mapped::open(&path).with_context(|| format!("{}: can not be read", path.display()))?;
        Ok((format!("{name}/{shard}"), mapped))
    };
    let files: Vec<_> = shards.into_iter().map(open).collect::<Result<_>>()?;
    Ok(Box::new(Safetensors::open(
        &format!("{name}/{file}"),
        files,
    )?))
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
