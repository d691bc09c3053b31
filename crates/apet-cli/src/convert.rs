//! `apet convert`: any checkpoint as a Hugging Face directory with `model.safetensors`.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apet_plm::{Gguf, Number, Weights};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::mapped::Mapped;
use crate::model;
use crate::store::write_atomic;

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// What to convert.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// A .gguf file (Llama, Qwen2), or a directory with pytorch_model.bin or sharded safetensors
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
    /// Directory to make: config.json, tokenizer.json, model.safetensors
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Writes what was converted.
///
/// # Errors
/// Names the file, what was found and what was expected; what was there before stays.
pub(crate) fn convert(args: &ConvertArgs) -> Result<()> {
    let from = &args.from;
    let shown = from.display().to_string();
    if from.is_dir() {
        let name = from.file_name().and_then(|n| n.to_str()).unwrap_or("model");
        let read = |file: &str| {
            let path = from.join(file);
            fs::read(&path).with_context(|| path.display().to_string())
        };
        let texts = [read("config.json")?, read("tokenizer.json")?];
        write(&*model::weights(from, name)?, texts, &args.output)?;
    } else if from.extension().is_some_and(|e| e == "gguf") {
        let mapped = Mapped::open(from).with_context(|| shown.clone())?;
        let gguf = Gguf::open(&shown, mapped)?;
        let texts = [gguf.config()?.into_bytes(), gguf.tokenizer()?.into_bytes()];
        write(&gguf, texts, &args.output)?;
    } else {
        bail!("{shown}: expected a .gguf file or a Hugging Face directory");
    }
    println!("{shown}: converted to {}", args.output.display());
    Ok(())
}

/// Writes the directory: weights first, since they are what may fail.
fn write(weights: &dyn Weights, texts: [Vec<u8>; 2], folder: &Path) -> Result<()> {
    let path = folder.join("model.safetensors");
    write_atomic(&path, |out| write_safetensors(weights, out))?;
    for (file, text) in ["config.json", "tokenizer.json"].iter().zip(texts) {
        write_atomic(&folder.join(file), |out| Ok(out.write_all(&text)?))?;
    }
    Ok(())
}

/// A checkpoint in the form of `model.safetensors`, tensor by tensor.
///
/// # Errors
/// When a tensor is of numbers that no weights have, or reading or writing fails.
pub(crate) fn write_safetensors(weights: &dyn Weights, out: &mut dyn Write) -> Result<()> {
    let mut infos = Vec::new();
    let mut end = 0;
    for name in weights.names() {
        let info = weights.info(name).context("a name without a tensor")?;
        let number = info.number.map_err(|other| {
            anyhow::anyhow!("{}: {name} has numbers of type {other}", weights.file())
        })?;
        let bytes = info.shape.iter().product::<usize>() * number.size();
        let dtype = match number {
            Number::F32 => Dtype::F32,
            Number::F16 => Dtype::F16,
            Number::Bf16 => Dtype::BF16,
        };
        let info = TensorInfo {
            dtype,
            shape: info.shape,
            data_offsets: (end, end + bytes),
        };
        infos.push((name.to_owned(), info));
        end += bytes;
    }
    ensure!(!infos.is_empty(), "{}: found no tensor", weights.file());
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(about), infos.clone())?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut piece = Vec::new();
    for (name, info) in infos {
        let size = info.data_offsets.1 - info.data_offsets.0;
        for at in (0..size).step_by(PIECE) {
            piece.resize(PIECE.min(size - at), 0);
            weights
                .read(&name, at as u64, &mut piece)
                .map_err(|e| anyhow::anyhow!("{}: {e}", weights.file()))?;
            out.write_all(&piece)?;
        }
    }
    Ok(())
}
