//! What is inside the binary: the page, and with it the ladder's models and the task `sentences`, which every store
//! has, so that nothing need be fetched.

use std::fs;

use anyhow::Result;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::manifest::Manifest;
use crate::store::{Store, write_atomic};

/// `web/dist` as it was when the binary was built; empty where it was not built before.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
pub struct Embedded;

/// The model and the task that are taken where a user names none.
pub const DEFAULTS: (&str, &str) = ("ladder-micro", "sentences");

/// Puts the models and tasks of the binary into the store that have a name which `is_wanted`, where they are not there
/// as they are here.
///
/// # Errors
/// When the store cannot be written.
pub fn install_builtin(store: &Store, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    for path in Embedded::iter() {
        let parts: Vec<&str> = path.split('/').collect();
        let (folder, is_model) = match parts[..] {
            ["models", name, _] if is_wanted(name) => (store.model(name), true),
            ["tasks", name, _] if is_wanted(name) => (store.task(name), false),
            _ => continue,
        };
        let (Some(file), Some(name)) = (Embedded::get(&path), parts.last()) else {
            continue;
        };
        let there = folder.join(name);
        let is_there = match is_model {
            // Weights are not read for it: their length, and the hash that they were stored with.
            true => {
                fs::metadata(&there).is_ok_and(|about| about.len() == file.data.len() as u64)
                    && Manifest::read(&folder).names(name, &sha256(&file))
            }
            false => fs::read(&there).is_ok_and(|bytes| bytes == file.data.as_ref()),
        };
        if is_there {
            continue;
        }
        write_atomic(&there, |out| Ok(out.write_all(&file.data)?))?;
        if is_model {
            Manifest::read(&folder).add(&folder, name, "apet")?;
        }
    }
    Ok(())
}

/// The models inside, with their config.json.
pub fn models() -> Vec<(String, String)> {
    let of = |path: std::borrow::Cow<'static, str>| {
        let name = path.strip_prefix("models/")?.strip_suffix("/config.json")?;
        let config = String::from_utf8(Embedded::get(&path)?.data.into_owned()).ok()?;
        Some((name.to_owned(), config))
    };
    Embedded::iter().filter_map(of).collect()
}

/// Whether a model of this name is inside.
pub fn has(model: &str) -> bool {
    models().iter().any(|(name, _)| name == model)
}

/// In hexadecimal digits.
pub fn sha256(file: &EmbeddedFile) -> String {
    let digits = file
        .metadata
        .sha256_hash()
        .map(|byte| format!("{byte:02x}"));
    digits.concat()
}
