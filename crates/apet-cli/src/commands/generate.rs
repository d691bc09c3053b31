//! `apet generate`: a language model continues texts.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use apet_plm::INPUT;
use apet_store::Store;
use futures_lite::future::block_on;

use crate::runner::device::{self, Precision};
use crate::runner::model;
use crate::runner::theta::ConstantTheta;

/// Options of `apet generate`.
#[derive(Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    /// Model in the store, or a Hugging Face directory
    #[arg(long, value_name = "NAME|DIR")]
    model: String,
    /// Apply a theta: a run of the store, or a file
    #[arg(long, value_name = "RUN|FILE")]
    theta: Option<String>,
    /// Continue this text; can be repeated
    #[arg(long, value_name = "TEXT", required_unless_present = "texts")]
    prompt: Vec<String>,
    /// Continue the texts of a file, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    texts: Option<PathBuf>,
    /// Generate at most N tokens
    #[arg(long, value_name = "N", default_value_t = 64)]
    most: usize,
    /// Continue after the model's end token
    #[arg(long)]
    ignore_end: bool,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Keep the weights in this type
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Print prompts, token ids, texts and seconds as JSON
    #[arg(long)]
    json: bool,
}

/// Prints each prompt with its continuation.
///
/// # Errors
/// When the model is an encoder, or the texts or the device cannot be used.
pub(crate) fn generate(store: &Store, args: &GenerateArgs) -> Result<()> {
    let prompts = match &args.texts {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            text.lines().map(str::to_owned).collect()
        }
        None => args.prompt.clone(),
    };
    ensure!(!prompts.is_empty(), "found no text, expected a text a line");
    let opened = device::open(&args.device)?;
    let begun = Instant::now();
    let plm = model::load(store, &args.model, args.dtype.dtype(), &opened)?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let theta = ConstantTheta::open(store, args.theta.as_deref(), &plm)?;
    let tap = &*theta.hooks();
    let ahead = tap.virtual_tokens(INPUT);
    let room = plm.max_length().saturating_sub(args.most + ahead);
    ensure!(
        room > 0,
        "--most: found {}, {} has positions for {} tokens",
        args.most,
        plm.info().name,
        plm.max_length()
    );
    let texts = prompts.iter().map(|text| (text.as_str(), None));
    let encoded = plm.tokenizer().encode(texts, room)?;
    let ids: Vec<&[u32]> = encoded.iter().map(|e| e.ids.as_slice()).collect();
    let ends = if args.ignore_end { &[] } else { plm.ends() };
    let begun = Instant::now();
    let written = block_on(plm.generate(&ids, args.most, ends, tap))?;
    let seconds = begun.elapsed().as_secs_f64();
    let tokens: usize = written.iter().map(Vec::len).sum();
    let texts: Vec<String> = written
        .iter()
        .map(|ids| plm.tokenizer().decode(ids))
        .collect::<Result<_, _>>()?;
    if args.json {
        let value = serde_json::json!({
            "model": plm.info().name, "prompt_ids": ids, "ids": written, "texts": texts,
            "load_seconds": load_seconds, "seconds": seconds, "tokens_per_second": tokens as f64 / seconds,
        });
        println!("{value}");
        return Ok(());
    }
    for (prompt, text) in prompts.iter().zip(&texts) {
        println!("{prompt}{text}");
    }
    eprintln!(
        "{tokens} tokens in {seconds:.1} s, {:.1} a second",
        tokens as f64 / seconds
    );
    Ok(())
}
