//! `apet import`: an adapter of Hugging Face peft becomes a theta file; an archive's runs come into the store.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use apet_record::Dtype;
use apet_store::{Store, archive, write_atomic};
use apet_theta::Theta;

use crate::runner::theta::{self, OBJECTIVE, POOLING};
use crate::runner::{device, model};

/// Options of `apet import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// A directory with adapter_config.json and adapter_model.safetensors, or an archive of runs for the store
    #[arg(value_name = "DIR|FILE.zip")]
    what: PathBuf,
    /// Put the adapter on this model: a name in the store, or a Hugging Face directory
    #[arg(long, value_name = "NAME|DIR", requires = "output")]
    model: Option<String>,
    /// Write the adapter as a theta file
    #[arg(short, long, value_name = "FILE.theta.safetensors", requires = "model")]
    output: Option<PathBuf>,
}

/// Brings in what it is.
///
/// # Errors
/// Names the field or tensor of the adapter, and why theta cannot hold it; or the record that cannot be read.
pub(crate) fn import(store: &Store, args: &ImportArgs) -> Result<()> {
    let shown = args.what.display();
    let is_archive = args.what.extension().is_some_and(|ending| ending == "zip");
    match (&args.model, &args.output) {
        (None, None) if is_archive => {
            let (came, there) = archive::import_runs(store, &args.what)?;
            println!("{shown}: {came} runs came into the store, {there} were there");
            Ok(())
        }
        (Some(model), Some(output)) if !is_archive => adapter(store, &args.what, model, output),
        _ => bail!("{shown}: an adapter needs --model and --output, an archive (.zip) has neither"),
    }
}

fn adapter(store: &Store, folder: &Path, model: &str, output: &Path) -> Result<()> {
    let read = |file: &str| {
        let path = folder.join(file);
        fs::read(&path).with_context(|| {
            format!(
                "{}: cannot be read; expected a directory that peft saved",
                path.display()
            )
        })
    };
    let shown = folder.display().to_string();
    let config = String::from_utf8(read("adapter_config.json")?)
        .with_context(|| format!("{shown}/adapter_config.json"))?;
    let weights = read("adapter_model.safetensors")?;
    let opened = device::open("cpu")?;
    let plm = model::load(store, model, Dtype::F32, &opened)?;
    let theta = Theta::from_peft(&plm, &config, &weights).with_context(|| shown.clone())?;
    let (objective, pooling) = Theta::peft_purpose(&config).with_context(|| shown.clone())?;
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = HashMap::from([
        (OBJECTIVE.to_owned(), word(serde_json::to_value(objective)?)),
        (POOLING.to_owned(), word(serde_json::to_value(pooling)?)),
        ("apet_source".to_owned(), theta.info().method.clone()),
    ]);
    let values = theta::values(&theta)?;
    let file = theta.to_safetensors(plm.architecture(), &values, metadata)?;
    write_atomic(output, |out| Ok(out.write_all(&file)?))?;
    let info = theta.info();
    println!(
        "{shown}: {}, {} parameters in {} weights, head {}: {}",
        info.method,
        info.trainable_parameters,
        info.weights,
        info.head,
        output.display()
    );
    Ok(())
}
