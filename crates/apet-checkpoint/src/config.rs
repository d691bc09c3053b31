//! config.json: a family's own fields, and those that every family has.

mod bert;
mod bloom;
mod llama;
mod mpnet;
mod t5;

use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};

use crate::PlmError;

pub use self::{
    bert::Bert,
    bloom::Bloom,
    llama::Llama,
    mpnet::{FARTHEST, FIRST_POSITION, Mpnet},
    t5::{FeedForward, T5},
};

/// A config.json by family (`model_type`), checked.
#[derive(Clone, Debug)]
pub enum Config {
    /// `bert`
    Bert(Bert),
    /// `mpnet`
    Mpnet(Mpnet),
    /// `bloom`
    Bloom(Bloom),
    /// `llama` and `qwen2`
    Llama(Box<Llama>),
    /// `t5`
    T5(T5),
}

impl Config {
    /// Reads and checks a config.json; fields that no computation needs are ignored.
    ///
    /// # Errors
    /// Names the field, what was found and what is supported.
    pub fn read(file: &str, text: &str) -> Result<Self, PlmError> {
        let family = family(file, text)?;
        let mut config = match family.as_str() {
            "bert" => Self::Bert(read(file, text)?),
            "mpnet" => Self::Mpnet(read(file, text)?),
            "bloom" => Self::Bloom(read(file, text)?),
            "llama" | "qwen2" => Self::Llama(Box::new(read(file, text)?)),
            "t5" => Self::T5(read(file, text)?),
            other => {
                let problem = format!(
                    "\"model_type\": \"{other}\" is not supported (bert, mpnet, bloom, llama, qwen2, t5)"
                );
                return Err(PlmError::new(file, problem));
            }
        };
        match &mut config {
            Self::Bert(c) => c.check(file),
            Self::Mpnet(c) => c.check(file),
            Self::Bloom(c) => c.check(file),
            Self::Llama(c) => c.check(file),
            Self::T5(c) => c.check(file),
        }?;
        Ok(config)
    }

    /// The family as config.json calls it.
    pub fn family(&self) -> &str {
        match self {
            Self::Bert(_) => "bert",
            Self::Mpnet(_) => "mpnet",
            Self::Bloom(_) => "bloom",
            Self::Llama(c) => &c.model_type,
            Self::T5(_) => "t5",
        }
    }

    /// Blocks; those of T5's encoder and decoder together.
    pub fn layers(&self) -> usize {
        match self {
            Self::Bert(c) => c.num_hidden_layers,
            Self::Mpnet(c) => c.num_hidden_layers,
            Self::Bloom(c) => c.n_layer,
            Self::Llama(c) => c.num_hidden_layers,
            Self::T5(c) => c.num_layers + c.decoder_layers(),
        }
    }

    /// Width of a token's state.
    pub fn hidden(&self) -> usize {
        match self {
            Self::Bert(c) => c.hidden_size,
            Self::Mpnet(c) => c.hidden_size,
            Self::Bloom(c) => c.hidden_size,
            Self::Llama(c) => c.hidden_size,
            Self::T5(c) => c.d_model,
        }
    }

    /// Rows of the token table.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Bert(c) => c.vocab_size,
            Self::Mpnet(c) => c.vocab_size,
            Self::Bloom(c) => c.vocab_size,
            Self::Llama(c) => c.vocab_size,
            Self::T5(c) => c.vocab_size,
        }
    }

    /// Longest sequence there are positions for; as good as endless where they are relative.
    pub fn max_length(&self) -> usize {
        match self {
            Self::Bert(c) => c.max_position_embeddings,
            Self::Mpnet(c) => c.max_position_embeddings - FIRST_POSITION,
            Self::Llama(c) => c.max_position_embeddings,
            Self::Bloom(_) | Self::T5(_) => usize::MAX,
        }
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
        let fields: Fields = read(file, text)?;
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

fn family(file: &str, text: &str) -> Result<String, PlmError> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
    }
    let kind: Kind = serde_json::from_str(text)
        .map_err(|e| PlmError::new(file, format!("{e}, expected a JSON object")))?;
    kind.model_type.ok_or_else(|| {
        PlmError::new(
            file,
            "no field \"model_type\", expected \"bert\" or another",
        )
    })
}

/// Reads the fields that `T` knows; others are ignored.
fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, PlmError> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        PlmError::new(file, format!("field \"{path}\": {}", e.inner()))
    })
}

/// Refuses what a family can not compute, by the field's name.
struct Checks<'a>(&'a str);

impl Checks<'_> {
    fn refuse<T>(&self, problem: String) -> Result<T, PlmError> {
        Err(PlmError::new(self.0, problem))
    }

    /// Sizes from 1 to 2^31: beyond it no tensor of the model could be addressed.
    fn sizes(&self, fields: &[(&str, usize)]) -> Result<(), PlmError> {
        match fields
            .iter()
            .find(|(_, size)| *size == 0 || *size >= 1 << 31)
        {
            Some((field, size)) => self.refuse(format!(
                "\"{field}\": {size}, expected a number from 1 to 2^31"
            )),
            None => Ok(()),
        }
    }

    /// A number of blocks: more than any model has would only take memory.
    fn blocks(&self, field: &str, count: usize) -> Result<(), PlmError> {
        if count == 0 || count > 1000 {
            return self.refuse(format!(
                "\"{field}\": {count}, expected a number from 1 to 1000"
            ));
        }
        Ok(())
    }

    fn divides(
        &self,
        (part, count): (&str, usize),
        (whole, size): (&str, usize),
    ) -> Result<(), PlmError> {
        if count == 0 || !size.is_multiple_of(count) {
            return self.refuse(format!(
                "\"{part}\": {count} does not divide \"{whole}\": {size}"
            ));
        }
        Ok(())
    }

    /// A table of relative positions.
    fn buckets(&self, field: &str, count: usize, farthest: usize) -> Result<(), PlmError> {
        // Half of a direction's buckets hold one distance each, the rest reach to `farthest`.
        if count < 4 || !count.is_multiple_of(2) || count / 2 >= farthest || count >= 1 << 16 {
            return self.refuse(format!(
                "\"{field}\": {count}, expected an even number from 4, its half below {farthest}"
            ));
        }
        Ok(())
    }

    /// Switches that must be off.
    fn off(&self, fields: &[(&str, bool)]) -> Result<(), PlmError> {
        match fields.iter().find(|(_, on)| *on) {
            Some((field, _)) => self.refuse(format!("\"{field}\": true is not supported (false)")),
            None => Ok(()),
        }
    }
}

/// An activation by the name transformers gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu`: x times the normal distribution's share below x.
    Gelu,
    /// `gelu_new`, `gelu_pytorch_tanh`: the same by way of tanh.
    GeluTanh,
    /// `relu`
    Relu,
    /// `silu`: x times its logistic.
    Silu,
}

impl Activation {
    fn by_name(name: &str) -> Result<Self, String> {
        Ok(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "relu" => Self::Relu,
            "silu" => Self::Silu,
            other => {
                return Err(format!(
                    "\"{other}\" is not supported (gelu, gelu_new, relu, silu)"
                ));
            }
        })
    }
}

impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::by_name(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
