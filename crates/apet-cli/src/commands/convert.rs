//! `apet convert`: any checkpoint as a Hugging Face directory with `model.safetensors`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use apet_plm::Gguf;
use apet_store::{Mapped, convert::write, weights};

/// Options of `apet convert`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// A .gguf file (Llama, Qwen2), or a directory with pytorch_model.bin or shards
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
    /// Write config.json, tokenizer.json and model.safetensors to DIR
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
        write(&*weights::weights(from, name)?, texts, &args.output)?;
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
