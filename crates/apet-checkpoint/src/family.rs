//! What a family of models says of itself: the trait that each file in `families/` implements.

use std::fmt::Debug;

use apet_record::Pooling;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{PlmError, checks::Checks};

/// The fields of a family's config.json that decide its computation.
pub trait Family: DeserializeOwned + Clone + Debug {
    /// What all models of the family have in common.
    const INFO: FamilyInfo;

    /// Checks the fields, and derives values from them.
    ///
    /// # Errors
    /// Names the field, its value and the supported ones.
    fn check(&mut self, check: &Checks<'_>) -> Result<(), PlmError>;

    /// The sizes that every model has.
    fn dimensions(&self) -> Dimensions;

    /// `model_type` of this config.json.
    fn model_type(&self) -> &str {
        Self::INFO.model_types.first().copied().unwrap_or_default()
    }
}

/// What all models of a family have in common.
#[derive(Clone, Copy, Debug)]
pub struct FamilyInfo {
    /// Values of `model_type` in config.json.
    pub model_types: &'static [&'static str],
    /// Whether it has an encoder, a decoder, or both.
    pub kind: Kind,
    /// Prefix of tensor names in transformers' classes with a head, such as `bert.`. Some
    /// checkpoints have it, others don't.
    pub prefix: &'static str,
    /// transformers' class without a head, as an adapter's model card loads it.
    pub base_class: &'static str,
    /// transformers' class for sequence classification. None unless it is the model with one
    /// linear layer on a pooling that this lab has, too.
    pub classifier: Option<Classifier>,
    /// Tokenizer that `apet pretrain` trains for the family. None where it cannot pretrain it.
    pub pretraining: Option<TokenizerKind>,
    /// Names in GGUF files. None where the family is read from safetensors only.
    pub gguf: Option<GgufFormat>,
}

impl FamilyInfo {
    /// A family of this kind with none of the optional parts.
    pub(crate) const fn new(
        kind: Kind,
        model_types: &'static [&'static str],
        prefix: &'static str,
    ) -> Self {
        Self {
            model_types,
            kind,
            prefix,
            base_class: "AutoModel",
            classifier: None,
            pretraining: None,
            gguf: None,
        }
    }
}

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a text: classification.
    Encoder,
    /// Continues a text.
    Decoder,
    /// Reads a text and writes another.
    EncoderDecoder,
}

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Blocks; those of an encoder and its decoder together.
    pub layers: usize,
    /// Width of a token's state.
    pub hidden: usize,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Maximum length of a sequence in tokens; `usize::MAX` for relative positions.
    pub max_length: usize,
}

/// transformers' class for sequence classification of a family.
#[derive(Clone, Copy, Debug)]
pub struct Classifier {
    /// Its name in `architectures`.
    pub class: &'static str,
    /// The pooling that its linear layer reads.
    pub pooling: Pooling,
    /// The name of its linear layer.
    pub layer: &'static str,
    /// Prefixes of other heads' tensors. The class has none of them.
    pub other_heads: &'static [&'static str],
}

/// A kind of tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerKind {
    /// WordPiece, as in BERT.
    WordPiece,
    /// Byte-level BPE, as in GPT-2.
    ByteLevel,
}

/// How GGUF files of a family translate to Hugging Face's.
#[derive(Clone, Copy, Debug)]
pub struct GgufFormat {
    /// Values of `general.architecture`, which are also those of `model_type`.
    pub architectures: &'static [&'static str],
    /// Tensors outside the blocks: the name in GGUF, the name in transformers.
    pub tensors: &'static [(&'static str, &'static str)],
    /// transformers' name of the blocks, for GGUF's `blk.`: `model.layers.`.
    pub blocks: &'static str,
    /// Modules of a block: the name in GGUF, the name in transformers.
    pub modules: &'static [(&'static str, &'static str)],
    /// Prefixes of tensors that are not supported, and the error for each.
    pub unsupported: &'static [(&'static str, &'static str)],
    /// The field with the number of heads whose rows llama.cpp interleaves in a tensor, by
    /// architecture and name in GGUF.
    pub interleaved_heads: fn(architecture: &str, tensor: &str) -> Option<&'static str>,
    /// The family's own fields of config.json.
    pub config: fn(&dyn GgufFields) -> Result<Value, PlmError>,
}

/// The fields of a GGUF file, by their names without the architecture's.
pub trait GgufFields {
    /// A number above 0.
    ///
    /// # Errors
    /// Names the field, what was found and what was expected.
    fn size(&self, name: &str) -> Result<usize, PlmError>;
    /// An integer, if there is one.
    fn integer(&self, name: &str) -> Option<usize>;
    /// A floating-point number, if there is one.
    fn float(&self, name: &str) -> Option<f64>;
    /// A text, if there is one.
    fn text(&self, name: &str) -> Option<&str>;
    /// Whether the file has a tensor of this Hugging Face name.
    fn has_tensor(&self, name: &str) -> bool;
    /// An error about this file.
    fn error(&self, problem: String) -> PlmError;
}
