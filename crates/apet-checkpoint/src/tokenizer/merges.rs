//! Checks of the merges of a byte-pair encoding: the `tokenizers` crate panics on one that is
//! longer than every token of the vocabulary.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The part of a tokenizer.json that says how words are cut.
#[derive(serde::Deserialize)]
pub(super) struct Model {
    #[serde(default)]
    vocab: LongestToken,
    #[serde(default)]
    merges: LongestMerge,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
}

impl Model {
    /// # Errors
    /// Describes the unsupported merge.
    pub(super) fn check(&self) -> Result<(), String> {
        let (merge, token) = (self.merges.0, self.vocab.0);
        if merge > token {
            return Err(format!(
                "\"merges\" make {merge} bytes, the longest of \"vocab\" has {token}: they do not belong together"
            ));
        }
        match &self.continuing_subword_prefix {
            Some(prefix) if merge > 0 && !prefix.is_empty() => Err(format!(
                "\"continuing_subword_prefix\": {prefix:?} is not supported with \"merges\" (null)"
            )),
            _ => Ok(()),
        }
    }
}

/// Bytes of the longest token.
#[derive(Default)]
struct LongestToken(usize);

impl<'de> Deserialize<'de> for LongestToken {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Tokens)
    }
}

struct Tokens;

impl<'de> Visitor<'de> for Tokens {
    type Value = LongestToken;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LongestToken, A::Error> {
        let mut longest = 0;
        while let Some((token, _)) = map.next_entry::<Cow<'de, str>, IgnoredAny>()? {
            longest = longest.max(token.len());
        }
        Ok(LongestToken(longest))
    }

    /// Unigram's, which has no merges.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LongestToken, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LongestToken(0))
    }

    fn visit_unit<E>(self) -> Result<LongestToken, E> {
        Ok(LongestToken(0))
    }
}

/// Bytes of the longest that two tokens are merged to.
#[derive(Default)]
struct LongestMerge(usize);

impl<'de> Deserialize<'de> for LongestMerge {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Merge<'a> {
            /// With a space between.
            One(#[serde(borrow)] Cow<'a, str>),
            Two(Cow<'a, str>, Cow<'a, str>),
        }
        struct Merges;
        impl<'de> Visitor<'de> for Merges {
            type Value = LongestMerge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LongestMerge, A::Error> {
                let mut longest = 0;
                while let Some(merge) = seq.next_element::<Merge<'de>>()? {
                    longest = longest.max(match merge {
                        Merge::One(text) => text.len().saturating_sub(1),
                        Merge::Two(first, second) => first.len() + second.len(),
                    });
                }
                Ok(LongestMerge(longest))
            }

            fn visit_unit<E>(self) -> Result<LongestMerge, E> {
                Ok(LongestMerge(0))
            }
        }
        from.deserialize_any(Merges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<(), String> {
        let model: Model = serde_json::from_str(json).map_err(|e| e.to_string())?;
        model.check()
    }

    #[test]
    fn merges_longer_than_every_token_are_refused() {
        assert_eq!(
            check(r#"{"vocab": {"a": 0, "bc": 1, "abc": 2}, "merges": ["a bc"]}"#),
            Ok(())
        );
        assert_eq!(
            check(r#"{"vocab": {"a": 0, "\u00e9": 1}, "merges": [["a", "a"], ["\u00e9", ""]]}"#),
            Ok(())
        );
        for bad in [
            r#"{"vocab": {"a": 0, "bc": 1}, "merges": ["a bc"]}"#,
            r#"{"vocab": {"a": 0, "bc": 1}, "merges": [["a", "bc"]]}"#,
            r#"{"merges": [["a", "b"]]}"#,
            r###"{"vocab": {"a": 0, "##b": 1, "a##b": 2}, "merges": [["a", "##b"]], "continuing_subword_prefix": "##"}"###,
            r#"{"merges": 7}"#,
        ] {
            check(bad).unwrap_err();
        }
        assert_eq!(check(r#"{"vocab": [["a", -1.0]], "merges": null}"#), Ok(()));
    }
}
