//! One file of a model, from its source into the store, checked on the way.

use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use indexmap::IndexMap;
use indicatif::{ProgressBar, ProgressStyle};
use safetensors::tensor::Metadata;
use serde_json::{Value, value::RawValue};

use super::source_file::{SourceFile, check_sha256};
use crate::store::{copy_hashed, write_atomic};

/// A config or a tokenizer is not larger than this; a header of weights neither.
const LIMIT: u64 = 100 << 20;

/// Writes what was found to `path`, whose name says what it must be.
/// Returns the length of the file.
///
/// # Errors
/// Names the origin, what was found and what was expected; `path` is as it was then.
pub(crate) fn store_file(found: SourceFile, path: &Path) -> Result<u64> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if name == "model.safetensors" {
        let origin = found.origin.clone();
        return store_weights(found, path).with_context(|| display_name(&origin, name));
    }
    let text = text(found, name)?;
    write_atomic(path, |out| Ok(out.write_all(text.as_bytes())?))?;
    Ok(text.len() as u64)
}

/// The text that `config.json` or `tokenizer.json` is stored as.
///
/// # Errors
/// Names the origin, what was found and what was expected.
pub(crate) fn text(found: SourceFile, name: &str) -> Result<String> {
    let origin = found.origin.clone();
    let read = || {
        let mut bytes = Vec::new();
        let (hash, length) = copy_hashed(&mut found.bytes.take(LIMIT + 1), &mut bytes)?;
        ensure!(
            length <= LIMIT,
            "found more than {LIMIT} bytes, expected a JSON file"
        );
        if let Some(expected) = &found.sha256 {
            check_sha256("the file", &hash, expected)?;
        }
        let text = String::from_utf8(bytes).context("expected UTF-8")?;
        if name == "tokenizer.json" {
            return without_padding(text);
        }
        family(&text)?;
        Ok(text)
    };
    read().with_context(|| display_name(&origin, name))
}

/// What a file is called in errors.
fn display_name(origin: &str, name: &str) -> String {
    if origin.ends_with(name) {
        origin.to_owned()
    } else {
        format!("{name} of {origin}")
    }
}

/// The config's family.
///
/// # Errors
/// Names the field, what was found and what was expected.
pub fn family(text: &str) -> Result<String> {
    let json: Value = serde_json::from_str(text).context("expected JSON")?;
    let Some(Value::String(family)) = json.get("model_type") else {
        bail!("\"model_type\" is missing, expected a name such as \"bert\"");
    };
    Ok(family.clone())
}

/// The tokenizer without padding and truncation: the run decides both. All else
/// stays as it is, to the byte.
fn without_padding(text: String) -> Result<String> {
    let mut json: IndexMap<&str, &RawValue> =
        serde_json::from_str(&text).context("expected a JSON object")?;
    ensure!(
        json.contains_key("model"),
        "\"model\" is missing, expected a Hugging Face tokenizer"
    );
    let mut changed = false;
    for field in ["truncation", "padding"] {
        if let Some(value) = json.get_mut(field).filter(|value| value.get() != "null") {
            *value = RawValue::NULL;
            changed = true;
        }
    }
    if !changed {
        return Ok(text);
    }
    Ok(serde_json::to_string(&json)?)
}

fn store_weights(found: SourceFile, path: &Path) -> Result<u64> {
    let bar = bar(found.length, path);
    let length = write_atomic(path, |out| {
        let mut bytes = bar.wrap_read(found.bytes);
        let (head, expected) = header(&mut bytes)?;
        let (hash, length) = copy_hashed(&mut Cursor::new(head).chain(bytes), out)?;
        ensure!(
            length == expected,
            "found {length} bytes, expected {expected} as its header says; the file is {}",
            if length < expected {
                "truncated"
            } else {
                "longer than its tensors"
            }
        );
        if let Some(expected) = &found.sha256 {
            check_sha256("the file", &hash, expected)?;
        }
        Ok(length)
    });
    bar.finish_and_clear();
    length
}

/// The header's bytes, and the length the whole file must have.
fn header(bytes: &mut dyn Read) -> Result<(Vec<u8>, u64)> {
    let mut head = Vec::new();
    bytes.take(8).read_to_end(&mut head)?;
    let Some(&size) = head.first_chunk::<8>() else {
        bail!(
            "found {} bytes, expected a safetensors file; the file is truncated",
            head.len()
        );
    };
    let size = u64::from_le_bytes(size);
    ensure!(
        size <= LIMIT,
        "found a header of {size} bytes, expected at most {LIMIT}; is it a safetensors file?"
    );
    bytes.take(size).read_to_end(&mut head)?;
    let text = head.get(8..).unwrap_or_default();
    ensure!(
        text.len() as u64 == size,
        "found {} bytes of a header of {size}; the file is truncated",
        text.len()
    );
    let metadata: Metadata =
        serde_json::from_slice(text).context("expected the header of a safetensors file")?;
    Ok((head, 8 + size + metadata.data_len() as u64))
}

fn bar(length: Option<u64>, path: &Path) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_message(
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    );
    bar
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(bytes: &[u8], sha256: Option<&str>) -> SourceFile {
        SourceFile {
            bytes: Box::new(Cursor::new(bytes.to_vec())),
            length: None,
            sha256: sha256.map(str::to_owned),
            origin: "a test".into(),
        }
    }

    fn weights() -> Vec<u8> {
        let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend([0; 8]);
        file
    }

    #[test]
    fn weights_are_taken_in_full_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let whole = weights();
        let mut longer = whole.clone();
        longer.push(0);
        let mut oversized = whole.clone();
        oversized[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let wrong = [
            (
                &whole[..5],
                "found 5 bytes, expected a safetensors file; the file is truncated",
            ),
            (
                &whole[..30],
                "found 22 bytes of a header of 54; the file is truncated",
            ),
            (
                &whole[..66],
                "found 66 bytes, expected 70 as its header says; the file is truncated",
            ),
            (
                &longer,
                "found 71 bytes, expected 70 as its header says; the file is longer",
            ),
            (&oversized, "found a header of 18446744073709551615 bytes"),
        ];
        for (bytes, problem) in wrong {
            let e = format!("{:#}", store_file(found(bytes, None), &path).unwrap_err());
            assert!(
                e.starts_with(&format!("model.safetensors of a test: {problem}")),
                "{e}"
            );
            assert!(!path.exists());
        }
        let e = format!(
            "{:#}",
            store_file(found(&whole, Some("abc")), &path).unwrap_err()
        );
        assert!(
            e.contains("expected abc; the file is damaged or another one"),
            "{e}"
        );
        assert!(!path.exists());
        assert_eq!(store_file(found(&whole, None), &path).unwrap(), 70);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn padding_and_truncation_go_and_all_else_stays() {
        let text = r#"{"version":"1.0","truncation":{"max_length":128},"padding":{"strategy":{"Fixed":128}},"model":{"vocab":{"b":0, "a":1}}}"#;
        assert_eq!(
            without_padding(text.into()).unwrap(),
            r#"{"version":"1.0","truncation":null,"padding":null,"model":{"vocab":{"b":0, "a":1}}}"#
        );
        let bare = "{ \"model\": {} }\n";
        assert_eq!(without_padding(bare.into()).unwrap(), bare);
        without_padding("{}".into()).unwrap_err();
        without_padding("[1".into()).unwrap_err();
    }

    #[test]
    fn a_config_names_its_family() {
        let text = r#"{"model_type":"bert","num_hidden_layers":6}"#;
        assert_eq!(family(text).unwrap(), "bert");
        assert!(
            family("{}")
                .unwrap_err()
                .to_string()
                .starts_with("\"model_type\" is missing")
        );
        family("{").unwrap_err();
    }
}
