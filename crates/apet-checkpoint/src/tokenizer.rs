//! `tokenizer.json` through the `tokenizers` crate, natively and in wasm.

mod merges;
mod parts;

use std::fmt::Display;

use tokenizers::{TruncationParams, TruncationStrategy};

use crate::PlmError;

/// One tokenized text or text pair, special tokens included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Token types: 0 for the first text, 1 for the second.
    pub types: Vec<u32>,
}

/// A model's tokenizer. Padding and truncation in the file are ignored: the lab pads to the
/// longest sequence of a batch and truncates to the task's length.
#[derive(Debug)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads a tokenizer and checks it against the rows of the model's table.
    ///
    /// # Errors
    /// When it is not a tokenizer, or belongs to another model.
    pub fn read(file: &str, bytes: &[u8], vocabulary: usize) -> Result<Self, PlmError> {
        let wrong =
            |e: &dyn Display| PlmError::new(file, format!("{e}, expected a tokenizer.json"));
        parts::check(bytes).map_err(|e| wrong(&e))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| wrong(&e))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| PlmError::new(file, e.to_string()))?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest >= vocabulary {
            return Err(PlmError::new(
                file,
                format!(
                    "has token id {largest}, the model has {vocabulary} rows: it belongs to another model"
                ),
            ));
        }
        Ok(Self {
            file: file.to_owned(),
            inner,
        })
    }

    /// Id of the padding token, if it has one.
    pub fn pad(&self) -> Option<u32> {
        ["[PAD]", "<pad>"]
            .iter()
            .find_map(|name| self.inner.token_to_id(name))
    }

    /// The ids of a text without special tokens.
    ///
    /// # Errors
    /// When the text cannot be tokenized.
    pub fn plain(&self, text: &str) -> Result<Vec<u32>, PlmError> {
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(|e| PlmError::new(&self.file, e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, without special tokens.
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, PlmError> {
        self.inner
            .decode(ids, true)
            .map_err(|e| PlmError::new(&self.file, e.to_string()))
    }

    /// Tokenizes texts and text pairs, each cut to `max_length` tokens (the longer text first).
    ///
    /// # Errors
    /// When a text cannot be tokenized.
    pub fn encode<'a>(
        &self,
        texts: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
        max_length: usize,
    ) -> Result<Vec<Encoded>, PlmError> {
        let wrong = |e: tokenizers::Error| PlmError::new(&self.file, e.to_string());
        let mut cutting = self.inner.clone();
        cutting
            .with_truncation(Some(TruncationParams {
                max_length,
                strategy: TruncationStrategy::LongestFirst,
                ..Default::default()
            }))
            .map_err(wrong)?;
        texts
            .into_iter()
            .map(|(text, pair)| {
                let encoding = match pair {
                    Some(pair) => cutting.encode((text, pair), true),
                    None => cutting.encode(text, true),
                }
                .map_err(wrong)?;
                Ok(Encoded {
                    ids: encoding.get_ids().to_vec(),
                    types: encoding.get_type_ids().to_vec(),
                })
            })
            .collect()
    }
}
