//! Models that people know by name, small and large: what they are before they are there.

use anyhow::{Context, Result};
use apet_checkpoint::Config;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A published model.
#[derive(Debug, Deserialize)]
pub struct Published {
    /// Name in the store.
    pub name: String,
    /// Repository on the Hugging Face hub.
    pub hub: String,
    /// Under what terms.
    pub licence: String,
    /// Repository that has the tokenizer.json, where the model's own has none.
    pub tokenizer: Option<String>,
    /// What of its config.json decides its shape.
    config: Box<RawValue>,
}

impl Published {
    /// Its config.
    ///
    /// # Errors
    /// When the config cannot be read: a fault of catalogue.json.
    pub fn config(&self) -> Result<Config> {
        Ok(Config::read("catalogue.json", self.config.get())?)
    }

    /// The text of its config.json.
    pub fn config_text(&self) -> String {
        self.config.get().to_owned()
    }
}

/// Every model, families together, small ones first.
///
/// # Errors
/// When catalogue.json cannot be read: a fault of that file.
pub fn catalogue() -> Result<Vec<Published>> {
    serde_json::from_str(include_str!("catalogue.json")).context("catalogue.json")
}

/// The model published under `name`.
///
/// # Errors
/// As [`catalogue`].
pub fn published(name: &str) -> Result<Option<Published>> {
    Ok(catalogue()?.into_iter().find(|model| model.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_can_be_a_name_in_the_store() {
        let mut names: Vec<String> = catalogue().unwrap().into_iter().map(|m| m.name).collect();
        for name in &names {
            crate::store::check_name(name).unwrap();
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
