//! The fields of an `adapter_config.json`.

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::error::FileError;

/// Fields that change nothing of what a finished adapter does.
const HARMLESS: [&str; 36] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "init_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "mask_type",
    "megatron_core",
    "modules_to_save",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "peft_type",
    "peft_version",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "qalora_group_size",
    "r",
    "random_seed",
    "rank_pattern",
    "revision",
    "save_precomputed_indices",
    "select_top",
    "sparsity",
    "target_modules",
    "task_type",
    "token_dim",
    "tokenizer_name_or_path",
];

/// Initial values that leave the base model as it is.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "orthogonal", "mica"];

/// The fields of an `adapter_config.json`.
#[derive(Clone, Debug)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Reads the text of an `adapter_config.json`.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let fields = serde_json::from_str(text);
        let fields = fields.map_err(|e| Self::error(format!("{e}, expected an object")))?;
        Ok(Self(fields))
    }

    /// An error in the file.
    pub fn error(problem: String) -> FileError {
        FileError(format!("adapter_config.json: {problem}"))
    }

    /// A field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// A text; empty if the field is none.
    pub fn word(&self, field: &str) -> &str {
        self.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.get(field).and_then(Value::as_f64)
    }

    /// Whether a field is set to true.
    pub fn is_true(&self, field: &str) -> bool {
        self.get(field) == Some(&Value::Bool(true))
    }

    /// A whole number.
    ///
    /// # Errors
    /// When the field is none.
    pub fn whole(&self, field: &str) -> Result<u64, FileError> {
        let found = self.get(field).unwrap_or(&Value::Null);
        let whole = found.as_u64();
        whole.ok_or_else(|| Self::error(format!("{field}: found {found}, expected a whole number")))
    }

    /// Ends of layers' names; peft also takes one regular expression, which is no list of ours.
    ///
    /// # Errors
    /// When the field is neither a list nor `all-linear`.
    pub fn names(&self, field: &str) -> Result<Vec<String>, FileError> {
        match self.get(field) {
            Some(Value::String(all)) if all == "all-linear" => Ok(vec![all.clone()]),
            Some(Value::Array(found)) => {
                let words = found.iter().filter_map(Value::as_str);
                let mut words: Vec<String> = words.map(str::to_owned).collect();
                words.sort_unstable(); // peft writes a set
                Ok(words)
            }
            found => Err(Self::error(format!(
                "{field}: found {}, expected a list of layers' names",
                found.unwrap_or(&Value::Null)
            ))),
        }
    }

    /// The value of a pattern field for a layer, as peft's get_pattern_key: of the first pattern that
    /// the layer's path ends in.
    ///
    /// # Errors
    /// When a pattern is no regular expression.
    pub fn pattern(&self, field: &str, path: &str) -> Result<Option<&Value>, FileError> {
        let Some(Value::Object(patterns)) = self.get(field) else {
            return Ok(None);
        };
        for (pattern, value) in patterns {
            let ends_so = Regex::new(&format!(r"^(.*\.)?({pattern})$"))
                .map_err(|e| Self::error(format!("{field}: {e}")))?;
            if ends_so.is_match(path) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Refuses a field that is set, unless it is harmless or `understood`.
    ///
    /// # Errors
    /// Names the field.
    pub fn check_fields(&self, understood: &[&str]) -> Result<(), FileError> {
        for (field, value) in &self.0 {
            let is_set = match value {
                Value::Null | Value::Bool(false) => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(items) => !items.is_empty(),
                Value::String(text) => !text.is_empty(),
                _ => true,
            };
            let harmless = HARMLESS.contains(&field.as_str())
                || understood.contains(&field.as_str())
                || match (field.as_str(), value) {
                    ("bias", Value::String(text)) => text == "none",
                    ("use_rslora", _) => true,
                    ("init_lora_weights", Value::Bool(_)) => true,
                    ("init_lora_weights", Value::String(text)) => {
                        PLAIN_STARTS.contains(&text.as_str())
                    }
                    _ => false,
                };
            if is_set && !harmless {
                return Err(Self::error(format!(
                    "{field}: found {value}, which theta cannot hold; expected it unset"
                )));
            }
        }
        Ok(())
    }
}
