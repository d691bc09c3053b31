//! `apet forward`: a model's hidden states for texts, for inspection and comparison.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use apet_record::Pooling;
use apet_store::{Store, write_atomic};
use burn::Tensor;
use safetensors::{Dtype, tensor::TensorView};

use crate::runner::device::{self, Precision};
use crate::runner::model;
use crate::runner::theta::ConstantTheta;

/// Options of `apet forward`.
#[derive(Debug, clap::Args)]
pub(crate) struct ForwardArgs {
    /// Model in the store, or a Hugging Face directory
    #[arg(long, value_name = "NAME|DIR")]
    model: String,
    /// Apply a theta: a run of the store, or a file. Virtual tokens come first
    #[arg(long, value_name = "RUN|FILE")]
    theta: Option<String>,
    /// Read texts, one a line; a tab separates the texts of a pair
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Write tensors to FILE. For the text of line I, from 0: I.ids [tokens], I.hidden.N
    /// [tokens, hidden] after the embeddings (0) and block N, I.mean [hidden]
    #[arg(short, long, value_name = "FILE.safetensors")]
    output: PathBuf,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Keep the weights in this type
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Truncate texts to N tokens, special tokens included [default: 128, or the model's positions if fewer]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
}

/// Runs the model and writes what it gives.
///
/// # Errors
/// When the model, the texts or the device cannot be used.
pub(crate) fn forward(store: &Store, args: &ForwardArgs) -> Result<()> {
    let shown = args.texts.display();
    let texts = std::fs::read_to_string(&args.texts).with_context(|| shown.to_string())?;
    let opened = device::open(&args.device)?;
    let plm = model::load(store, &args.model, args.dtype.dtype(), &opened)?;
    let theta = ConstantTheta::open(store, args.theta.as_deref(), &plm)?;
    let tap = &*theta.hooks();
    let max_length = args.max_length.unwrap_or(plm.max_length().min(128));
    ensure!(
        (3..=plm.max_length()).contains(&max_length),
        "--max-length: found {}, expected 3 to {}, the positions of {}",
        max_length,
        plm.max_length(),
        plm.info().name
    );
    let texts = texts.lines().map(|line| match line.split_once('\t') {
        Some((text, pair)) => (text, Some(pair)),
        None => (line, None),
    });
    let encoded = plm.tokenizer().encode(texts, max_length)?;
    ensure!(
        !encoded.is_empty(),
        "{shown}: found no line, expected a text a line"
    );
    let mut data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (i, text) in encoded.iter().enumerate() {
        let batch = plm.batch(&[text]);
        let ids = text.ids.iter().flat_map(|&id| i64::from(id).to_le_bytes());
        data.push((
            format!("{i}.ids"),
            Dtype::I64,
            vec![text.ids.len()],
            ids.collect(),
        ));
        let states = plm.hidden_states(&batch, tap);
        for (n, state) in states.iter().enumerate() {
            let [_, tokens, hidden] = state.dims();
            data.push((
                format!("{i}.hidden.{n}"),
                Dtype::F32,
                vec![tokens, hidden],
                bytes(state)?,
            ));
        }
        if let Some(last) = states.last() {
            let mean = plm.pool(&batch, last.clone(), Pooling::Mean, tap);
            data.push((
                format!("{i}.mean"),
                Dtype::F32,
                vec![plm.info().hidden],
                bytes(&mean)?,
            ));
        }
    }
    let views = data.iter().map(|(name, dtype, shape, bytes)| {
        Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let file = safetensors::serialize(views, None)?;
    write_atomic(&args.output, |out| Ok(out.write_all(&file)?))?;
    println!("{} texts: {}", encoded.len(), args.output.display());
    Ok(())
}

fn bytes<const D: usize>(tensor: &Tensor<D>) -> Result<Vec<u8>> {
    let data = futures_lite::future::block_on(tensor.clone().into_data_async())?;
    let floats = data
        .try_to_vec::<f32>()
        .map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(floats.iter().flat_map(|v| v.to_le_bytes()).collect())
}
