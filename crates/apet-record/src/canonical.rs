//! Canonical JSON and the ids derived from it.

use serde::Serialize;
use serde_json::Value;

/// JSON with sorted keys and no white space: one value, one text.
///
/// Integers are written exactly, floats rounded to 15 significant digits: every
/// decimal of 15 digits survives conversion to a float and back, and a JSON reader that is
/// off by the last bit (serde_json's default one is, for one float in six) changes nothing.
///
/// # Errors
/// If the value cannot be written as JSON (a map whose keys are not strings).
pub fn canonical_json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut text = String::new();
    write(&serde_json::to_value(value)?, &mut text)?;
    Ok(text)
}

/// The id of a value: 16 hexadecimal digits of the BLAKE3 hash of its canonical JSON.
///
/// # Errors
/// As [`canonical_json`].
pub fn content_id<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let hash = blake3::hash(canonical_json(value)?.as_bytes());
    Ok(hash.to_hex()[..16].to_string())
}

fn write(value: &Value, text: &mut String) -> serde_json::Result<()> {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        // Sorted here, not by the map type: another crate in the build may
        // switch serde_json's maps to insertion order.
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            text.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(key)?);
                text.push(':');
                write(&map[key], text)?;
            }
            text.push('}');
        }
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            let rounded = format!("{float:.14e}").parse().unwrap_or(float);
            text.push_str(&serde_json::to_string(&rounded)?);
        }
        scalar => text.push_str(&serde_json::to_string(scalar)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value = json!({"b": {"z": 1, "a": [1.5, null, "x\n"]}, "a": true});
        assert_eq!(
            canonical_json(&value).unwrap(),
            r#"{"a":true,"b":{"a":[1.5,null,"x\n"],"z":1}}"#
        );
    }

    #[test]
    fn the_last_bit_of_a_float_does_not_change_the_id() {
        for decimal in [0.001, 5e-5, 0.1, 1.0, 123_456.789, 3.3e-300] {
            for bits in [f64::to_bits(decimal) - 1, f64::to_bits(decimal) + 1] {
                let off = f64::from_bits(bits);
                assert_eq!(
                    canonical_json(&off).unwrap(),
                    canonical_json(&decimal).unwrap()
                );
            }
        }
        assert_ne!(
            canonical_json(&0.1).unwrap(),
            canonical_json(&0.100_000_000_000_001).unwrap()
        );
    }

    #[test]
    fn the_order_of_fields_does_not_change_the_id() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!(content_id(&one).unwrap(), content_id(&two).unwrap());
        assert_eq!(content_id(&one).unwrap().len(), 16);
    }
}
