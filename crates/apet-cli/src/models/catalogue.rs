//! Models that people know by name, small and large: what they are before they are there.

use anyhow::{Context, Result};
use apet_plm::{Config, ModelArchitecture};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A published model.
#[derive(Debug, Deserialize)]
pub(crate) struct Published {
    /// Name in the store.
    pub(crate) name: String,
    /// Repository on the Hugging Face hub.
    pub(crate) hub: String,
    /// Under what terms.
    pub(crate) licence: String,
    /// Repository that has the tokenizer.json, where the model's own has none.
    pub(crate) tokenizer: Option<String>,
    /// What of its config.json decides its shape.
    config: Box<RawValue>,
}

impl Published {
    /// Its sites, from its config.
    ///
    /// # Errors
    /// When the config can not be read: a fault of this file.
    pub(crate) fn architecture(&self) -> Result<ModelArchitecture> {
        let config = Config::read("catalogue.json", self.config.get())?;
        Ok(ModelArchitecture::new(&self.name, config))
    }

    /// Its config.json.
    pub(crate) fn config(&self) -> String {
        self.config.get().to_owned()
    }
}

/// Every model, families together, small ones first.
///
/// # Errors
/// When catalogue.json can not be read: a fault of that file.
pub(crate) fn catalogue() -> Result<Vec<Published>> {
    serde_json::from_str(include_str!("catalogue.json")).context("catalogue.json")
}

/// The model published under `name`.
///
/// # Errors
/// As [`catalogue`].
pub(crate) fn published(name: &str) -> Result<Option<Published>> {
    Ok(catalogue()?.into_iter().find(|model| model.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of the models' cards, and of transformers' `num_parameters()`.
    #[test]
    fn models_have_the_parameters_they_are_known_for() {
        for (name, parameters) in [
            ("bert-tiny", 4_385_920),
            ("bert-mini", 11_170_560),
            ("bert-small", 28_763_648),
            ("bert-medium", 41_373_184),
            ("bert-base", 109_482_240),
            ("bert-large", 335_141_888),
            ("t5-small", 60_506_624),
            ("t5-base", 222_903_552),
            ("t5-v1_1-small", 76_961_152),
            ("t5-v1_1-base", 247_577_856),
            ("bloom-560m", 559_214_592),
            ("bloom-1b1", 1_065_314_304),
            ("bloom-7b1", 7_069_016_064),
            ("bloom-176b", 176_247_271_424),
            ("smollm2-135m", 134_515_008),
            ("qwen2.5-0.5b", 494_032_768),
        ] {
            let architecture = published(name).unwrap().unwrap().architecture().unwrap();
            assert_eq!(architecture.parameters().0, parameters, "{name}");
        }
    }

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
