//! The file that describes a family of models to pre-train: ladder.toml.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A family to train.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ladder {
    /// Plain text, one paragraph a line; relative to the file.
    pub(super) corpus: PathBuf,
    /// Text that is not trained on.
    pub(super) validation: PathBuf,
    /// What the text is and under what terms, for the models' cards.
    #[serde(default)]
    pub(super) about: String,
    /// Tokens of the vocabulary.
    pub(super) vocabulary: usize,
    /// For all models.
    #[serde(default)]
    pub(super) recipe: Map<String, Value>,
    pub(super) model: Vec<Rung>,
}

/// A model of the family.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rung {
    pub(super) name: String,
    /// Its config.json, without the size of the vocabulary.
    pub(super) config: Map<String, Value>,
    /// What differs from the family's recipe.
    #[serde(default)]
    pub(super) recipe: Map<String, Value>,
}
