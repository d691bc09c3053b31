//! `apet import`: an adapter of Hugging Face peft becomes a theta file.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use apet_record::{Dtype, Objective, Pooling};
use apet_theta::Theta;

use crate::{
    device, model,
    store::{Store, write_atomic},
    theta::{self, OBJECTIVE, POOLING},
};

/// What to import.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Directory with adapter_config.json and adapter_model.safetensors
    #[arg(value_name = "DIR")]
    adapter: PathBuf,
    /// The model it belongs to: in the store, or a Hugging Face directory
    #[arg(long, value_name = "NAME|DIR")]
    model: String,
    /// Theta file to write
    #[arg(short, long, value_name = "FILE.theta.safetensors")]
    output: PathBuf,
}

/// Writes the theta file.
///
/// # Errors
/// Names the field or tensor of the adapter, and why theta can not hold it.
pub(crate) fn import(store: &Store, args: &ImportArgs) -> Result<()> {
    let read = |file: &str| {
        let path = args.adapter.join(file);
        fs::read(&path).with_context(|| {
            format!(
                "{}: can not be read; expected a directory that peft saved",
                path.display()
            )
        })
    };
    let shown = args.adapter.display().to_string();
    let config = String::from_utf8(read("adapter_config.json")?)
        .with_context(|| format!("{shown}/adapter_config.json"))?;
    let weights = read("adapter_model.safetensors")?;
    let opened = device::open("cpu")?;
    let plm = model::load(store, &args.model, Dtype::F32, &opened)?;
    let theta = Theta::from_peft(&plm, &config, &weights).with_context(|| shown.clone())?;
    let task = serde_json::from_str::<serde_json::Value>(&config)?;
    let (objective, pooling) = match task["task_type"].as_str() {
        Some("SEQ_CLS") => (Objective::ClassHead, Pooling::Pooler),
        Some("CAUSAL_LM" | "SEQ_2_SEQ_LM") => (Objective::LabelWords, Pooling::Mean),
        _ => (Objective::ClassHead, Pooling::Mean),
    };
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = HashMap::from([
        (OBJECTIVE.to_owned(), word(serde_json::to_value(objective)?)),
        (POOLING.to_owned(), word(serde_json::to_value(pooling)?)),
        ("apet_source".to_owned(), theta.info().method.clone()),
    ]);
    let values = theta::values(&theta)?;
    let file = theta.to_safetensors(plm.outline(), &values, metadata)?;
    write_atomic(&args.output, |out| Ok(out.write_all(&file)?))?;
    let info = theta.info();
    println!(
        "{shown}: {}, {} parameters in {} weights, head {}: {}",
        info.method,
        info.realised,
        info.weights,
        info.head,
        args.output.display()
    );
    Ok(())
}
