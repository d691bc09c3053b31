//! Checks of a tokenizer.json for parts on which the `tokenizers` crate would panic.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::merges::Model;

/// The parts of a tokenizer.json.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    model: Option<Model>,
}

/// Reads the parts as JSON and looks at what they name. Only their shape counts: the crate
/// takes a part of an unknown "type" for the first kind that its fields fit.
///
/// # Errors
/// Describes the problem of the first part that is not supported.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let parts: Parts = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if let Some(model) = &parts.model {
        model
            .check()
            .map_err(|problem| format!("\"model\": {problem}"))?;
    }
    for (name, part) in [
        ("normalizer", &parts.normalizer),
        ("pre_tokenizer", &parts.pre_tokenizer),
        ("post_processor", &parts.post_processor),
        ("decoder", &parts.decoder),
    ] {
        if !part.is_null() {
            one(part, &mut 1).map_err(|problem| format!("\"{name}\": {problem}"))?;
        }
    }
    Ok(())
}

/// How much longer a text may get by what its parts put in for each character.
const GROWTH: usize = 1024;

/// Looks at a part, and at the parts of a sequence; `growth` is that of the parts before.
fn one(part: &Value, growth: &mut usize) -> Result<(), String> {
    let Value::Object(part) = part else {
        return Err("expected an object".into());
    };
    let table = part.get("precompiled_charsmap");
    if table.is_some() || part.get("type").is_some_and(|kind| kind == "Precompiled") {
        table
            .and_then(Value::as_str)
            .and_then(|text| characters(&BASE64.decode(text).ok()?))
            .ok_or("\"precompiled_charsmap\": damaged, expected SentencePiece's table of characters in Base64")?;
    }
    if let Some(content) = part.get("content").and_then(Value::as_str) {
        *growth = growth.saturating_mul(content.chars().count() + 1);
        if *growth > GROWTH {
            return Err(format!(
                "\"content\": a text may get {growth} times longer by it, expected at most {GROWTH}"
            ));
        }
    }
    if part.contains_key("single") {
        template(part)?;
    }
    let sequence = ["normalizers", "pretokenizers", "processors", "decoders"];
    let inner = sequence
        .iter()
        .filter_map(|name| part.get(*name)?.as_array());
    inner.flatten().try_for_each(|part| one(part, growth))
}

/// Every special token of a template must be among its `special_tokens`, and only the
/// template of a pair may have a second sequence.
fn template(part: &Map<String, Value>) -> Result<(), String> {
    let known = part.get("special_tokens").and_then(Value::as_object);
    for field in ["single", "pair"] {
        let pieces = part.get(field).and_then(Value::as_array);
        for piece in pieces.into_iter().flatten() {
            let id = |kind: &str| piece.get(kind)?.get("id")?.as_str();
            if let Some(token) = id("SpecialToken")
                && !known.is_some_and(|known| known.contains_key(token))
            {
                return Err(format!(
                    "\"{field}\" has {token:?}, which is not among its \"special_tokens\""
                ));
            }
            if field == "single" && id("Sequence") == Some("B") {
                return Err("\"single\" has a second sequence, expected \"A\" alone".into());
            }
        }
    }
    Ok(())
}

/// Checks that lookups in a SentencePiece table of characters stay inside it: `None` if they
/// don't. Its bytes: the length of a trie, the trie (a double array of u32, see
/// Darts-clone), and the texts that its leaves point into.
fn characters(bytes: &[u8]) -> Option<()> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize / 4 * 4;
    let (trie, texts) = (
        rest.get(..length)?,
        std::str::from_utf8(rest.get(length..)?).ok()?,
    );
    let units: Vec<u32> = trie
        .as_chunks()
        .0
        .iter()
        .map(|unit| u32::from_le_bytes(*unit))
        .collect();
    let from = |at: usize, unit: u32| at ^ ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize;
    let mut seen = vec![false; units.len()];
    let mut nodes = vec![from(0, *units.first()?)];
    while let Some(node) = nodes.pop() {
        if std::mem::replace(seen.get_mut(node)?, true) {
            continue;
        }
        for byte in 1..=255 {
            let at = node ^ byte as usize;
            let unit = *units.get(at)?;
            // The unit belongs to this node where it carries the byte that led to it.
            if unit & (1 << 31 | 0xff) != byte {
                continue;
            }
            let next = from(at, unit);
            if unit & 1 << 8 != 0 {
                let text = *units.get(next)? & !(1 << 31);
                texts.get(text as usize..)?;
            }
            nodes.push(next);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixture's table: SentencePiece's own.
    fn table() -> Vec<u8> {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/t5-tiny/spiece.tokenizer.json"
        );
        let json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let text = &json["normalizer"]["normalizers"][0]["precompiled_charsmap"];
        BASE64.decode(text.as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_table_that_leads_out_of_itself_is_refused() {
        let whole = table();
        assert_eq!(characters(&whole), Some(()));
        assert_eq!(characters(&[]), None);
        let trie = u32::from_le_bytes(whole[..4].try_into().unwrap()) as usize;
        for length in [0, trie - 1024, trie + 1024, usize::MAX] {
            let mut bytes = whole.clone();
            bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
            assert_eq!(characters(&bytes), None, "{length}");
        }
        // Without its texts, or with another first step.
        assert_eq!(characters(&whole[..4 + trie]), None);
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(characters(&bytes), None);
    }

    #[test]
    fn a_text_does_not_grow_without_end() {
        let replace = |content: &str| format!(r#"{{"type": "Replace", "content": "{content}"}}"#);
        let file = |parts: &[String]| {
            let parts = parts.join(",");
            format!(r#"{{"normalizer": {{"type": "Sequence", "normalizers": [{parts}]}}}}"#)
        };
        let few = file(&[replace("\u{2581}"), replace(" ")]);
        assert_eq!(check(few.as_bytes()), Ok(()));
        let many = file(&[replace(&"x".repeat(99)), replace(&"y".repeat(99))]);
        let error = check(many.as_bytes()).unwrap_err();
        assert!(error.contains("10000 times"), "{error}");
    }

    #[test]
    fn a_template_names_what_it_has() {
        let file = |post: &str| format!(r#"{{"post_processor": {post}}}"#);
        let good = r#"{"single": [{"SpecialToken": {"id": "</s>", "type_id": 0}}], "special_tokens": {"</s>": {}}}"#;
        assert_eq!(check(file(good).as_bytes()), Ok(()));
        for bad in [
            r#"{"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}], "special_tokens": {"</s>": {}}}"#,
            r#"{"single": [{"Sequence": {"id": "B", "type_id": 0}}]}"#,
            r#"{"processors": [{"single": [{"Sequence": {"id": "B", "type_id": 0}}]}]}"#,
            r#"[[], [], {}]"#,
        ] {
            check(file(bad).as_bytes()).unwrap_err();
        }
    }
}
