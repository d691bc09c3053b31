//! config.json and tokenizer.json from the fields of a GGUF file.

use serde_json::{Map, Value as Json, json};

use super::{Gguf, Value};
use crate::{PlmError, source::ReadAt};

/// Kinds of tokens that stand for themselves and are never cut: control, user-defined.
const SPECIAL: [i64; 2] = [3, 4];

impl<R: ReadAt> Gguf<R> {
    /// The model's `config.json`.
    ///
    /// # Errors
    /// Names the field that is missing or not a number.
    pub fn config(&self) -> Result<String, PlmError> {
        let token = |name: &str| {
            let value = self.fields.get(&format!("tokenizer.ggml.{name}_token_id"));
            value.and_then(Value::integer)
        };
        let vocabulary = self.tokens()?.len();
        let mut config = (self.format.config)(self)?;
        if let Some(error) = self.unsupported {
            return Err(PlmError::new(&self.file, error));
        }
        let common = [
            ("model_type", self.architecture.as_str().into()),
            ("vocab_size", vocabulary.into()),
            ("bos_token_id", token("bos").into()),
            ("eos_token_id", token("eos").into()),
            ("pad_token_id", token("padding").into()),
        ];
        for (field, value) in common {
            config[field] = value;
        }
        serde_json::to_string_pretty(&config).map_err(|e| PlmError::new(&self.file, e.to_string()))
    }

    fn tokens(&self) -> Result<&[String], PlmError> {
        match self.fields.get("tokenizer.ggml.tokens") {
            Some(Value::Texts(tokens)) => Ok(tokens),
            other => Err(PlmError::new(
                &self.file,
                format!(
                    "\"tokenizer.ggml.tokens\": found {}, expected an array of texts",
                    other.map_or("nothing".into(), Value::shown)
                ),
            )),
        }
    }

    /// The model's `tokenizer.json`: byte-level BPE.
    ///
    /// # Errors
    /// When the tokenizer is of another kind, or splits texts by an unknown rule.
    pub fn tokenizer(&self) -> Result<String, PlmError> {
        let refuse = |problem: String| PlmError::new(&self.file, problem);
        let text = |name: &str| match self.fields.get(&format!("tokenizer.ggml.{name}")) {
            Some(Value::Text(text)) => text.as_str(),
            _ => "",
        };
        if text("model") != "gpt2" {
            return Err(refuse(format!(
                "\"tokenizer.ggml.model\": \"{}\" is not supported (gpt2)",
                text("model")
            )));
        }
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let steps = match text("pre") {
            "smollm" => vec![
                json!({"type": "Digits", "individual_digits": true}),
                byte_level(true),
            ],
            "gpt-2" => vec![byte_level(true)],
            "qwen2" => vec![split(QWEN2), byte_level(false)],
            "llama-bpe" => vec![split(LLAMA3), byte_level(false)],
            other => {
                return Err(refuse(format!(
                    "\"tokenizer.ggml.pre\": \"{other}\" is not supported (smollm, gpt-2, qwen2, llama-bpe)"
                )));
            }
        };
        let tokens = self.tokens()?;
        let Some(Value::Texts(merges)) = self.fields.get("tokenizer.ggml.merges") else {
            return Err(refuse(
                "\"tokenizer.ggml.merges\" is missing, expected an array of texts".into(),
            ));
        };
        let kinds = match self.fields.get("tokenizer.ggml.token_type") {
            Some(Value::Integers(kinds)) => kinds.as_slice(),
            _ => &[],
        };
        let mut vocabulary = Map::new();
        let mut added = Vec::new();
        for (id, token) in tokens.iter().enumerate() {
            vocabulary.insert(token.clone(), id.into());
            if kinds.get(id).is_some_and(|kind| SPECIAL.contains(kind)) {
                added.push(json!({
                    "id": id, "content": token, "special": kinds.get(id) == Some(&SPECIAL[0]),
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                }));
            }
        }
        let first = self.fields.get("tokenizer.ggml.add_bos_token") == Some(&Value::Bool(true));
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": if first { self.begins(tokens) } else { Json::Null },
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": text("pre") == "llama-bpe",
                "vocab": vocabulary, "merges": merges,
            },
        });
        serde_json::to_string(&tokenizer).map_err(|e| refuse(e.to_string()))
    }

    /// A post-processor that puts the first token before every text.
    fn begins(&self, tokens: &[String]) -> Json {
        let id = self.fields.get("tokenizer.ggml.bos_token_id");
        let Some(id) = id.and_then(Value::integer).filter(|&id| id < tokens.len()) else {
            return Json::Null;
        };
        let token = &tokens[id];
        let special = json!({"SpecialToken": {"id": token, "type_id": 0}});
        let text = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
        json!({
            "type": "TemplateProcessing",
            "single": [special, text("A", 0)],
            "pair": [special, text("A", 0), text("B", 1)],
            "special_tokens": {token.as_str(): {"id": token, "ids": [id], "tokens": [token]}},
        })
    }
}

/// Where Qwen2's tokenizer cuts; as in its tokenizer.json.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Where Llama 3's tokenizer cuts; as in its tokenizer.json.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
