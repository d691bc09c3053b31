//! config.json: the fields of a family, and those that every family has.

use serde::Deserialize;

use crate::{
    PlmError,
    families::{Config, FAMILIES, fields},
};

impl Config {
    /// Reads and checks a config.json; fields that no computation needs are ignored.
    ///
    /// # Errors
    /// Names the field, what was found and what is supported.
    pub fn read(file: &str, text: &str) -> Result<Self, PlmError> {
        let model_type = model_type(file, text)?;
        Self::parse(&model_type, file, text).unwrap_or_else(|| {
            let known: Vec<&str> = FAMILIES
                .iter()
                .flat_map(|f| f.model_types)
                .copied()
                .collect();
            let known = known.join(", ");
            let problem = format!("\"model_type\": \"{model_type}\" is not supported ({known})");
            Err(PlmError::new(file, problem))
        })
    }

    /// Blocks; those of an encoder and its decoder together.
    pub fn layers(&self) -> usize {
        self.dimensions().layers
    }

    /// Width of a token's state.
    pub fn hidden(&self) -> usize {
        self.dimensions().hidden
    }

    /// Rows of the token table.
    pub fn vocabulary(&self) -> usize {
        self.dimensions().vocabulary
    }

    /// Maximum length of a sequence in tokens; `usize::MAX` for relative positions.
    pub fn max_length(&self) -> usize {
        self.dimensions().max_length
    }
}

/// The special tokens that config.json may name.
#[derive(Clone, Debug, Default)]
pub struct Special {
    /// Padding.
    pub pad: Option<u32>,
    /// Tokens that end a generated text.
    pub ends: Vec<u32>,
}

impl Special {
    /// Reads them from a config.json.
    ///
    /// # Errors
    /// Names the field that is no token id.
    pub fn read(file: &str, text: &str) -> Result<Self, PlmError> {
        #[derive(Deserialize)]
        struct Fields {
            #[serde(default)]
            pad_token_id: Option<u32>,
            #[serde(default)]
            eos_token_id: Ends,
        }
        #[derive(Default, Deserialize)]
        #[serde(untagged)]
        enum Ends {
            One(u32),
            Several(Vec<u32>),
            #[default]
            None,
        }
        let fields: Fields = fields(file, text)?;
        Ok(Self {
            pad: fields.pad_token_id,
            ends: match fields.eos_token_id {
                Ends::One(id) => vec![id],
                Ends::Several(ids) => ids,
                Ends::None => Vec::new(),
            },
        })
    }
}

fn model_type(file: &str, text: &str) -> Result<String, PlmError> {
    #[derive(Deserialize)]
    struct Fields {
        model_type: Option<String>,
    }
    let fields: Fields = serde_json::from_str(text)
        .map_err(|e| PlmError::new(file, format!("{e}, expected a JSON object")))?;
    fields.model_type.ok_or_else(|| {
        PlmError::new(
            file,
            "no field \"model_type\", expected \"bert\" or another",
        )
    })
}
