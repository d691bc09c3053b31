//! A model's architecture by name, from its config.json alone; and whether a run with it fits this machine's memory.

use anyhow::{Context, Result};
use apet_plm::{Config, ModelArchitecture};
use apet_record::RunSpec;
use apet_store::{Store, catalogue::published, weights};
use apet_train::Plan;
use indicatif::HumanBytes;

/// The machine's memory in bytes: what is there, and what of it is free.
pub(crate) fn memory() -> (u64, u64) {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    (system.total_memory(), system.available_memory())
}

/// The config.json of a model from the table, the store or a directory, and its name in errors.
fn config(store: &Store, name: &str) -> Result<(String, String)> {
    match weights::find(store, name) {
        Ok(folder) => {
            let path = folder.join("config.json");
            let file = path.display().to_string();
            let text = std::fs::read_to_string(&path).with_context(|| file.clone())?;
            Ok((file, text))
        }
        Err(not_there) => match published(name)? {
            Some(known) => Ok(("catalogue.json".into(), known.config_text())),
            None => Err(not_there.context("apet models lists the known ones")),
        },
    }
}

/// The text of a model's config.json, from the table, the store or a directory.
///
/// # Errors
/// When it is in none of them.
pub(crate) fn config_of(store: &Store, name: &str) -> Result<String> {
    Ok(config(store, name)?.1)
}

/// The same as a [`ModelArchitecture`].
///
/// # Errors
/// When it is in none of them, or is not supported.
pub(crate) fn architecture(store: &Store, name: &str) -> Result<ModelArchitecture> {
    let (file, text) = config(store, name)?;
    Ok(ModelArchitecture::new(name, Config::read(&file, &text)?))
}

/// What to say before a run on the processor that will take more memory than there is;
/// nothing where it fits, or where that cannot be known.
pub(crate) fn shortage(store: &Store, spec: &RunSpec, labels: usize) -> Option<String> {
    let architecture = architecture(store, &spec.model).ok()?;
    let peak = Plan::new(&architecture, spec, labels).ok()?.peak();
    let (_, available) = memory();
    (peak > available).then(|| {
        format!(
            "this run takes about {}, {} are free; apet models --plan {} says what for",
            HumanBytes(peak),
            HumanBytes(available),
            spec.model
        )
    })
}
