//! The header of a safetensors file, in 64 bits: the crate safetensors counts a tensor's
//! bits in a `usize`, which in WebAssembly ends at 512 MiB.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde::Deserialize;

/// A tensor as the header has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Its first byte and the one after its last, counted from the end of the header.
    pub(crate) data_offsets: (u64, u64),
}

impl Tensor {
    /// Its bytes by type and shape; nothing where they are no whole number, or beyond 64 bits.
    fn bytes(&self) -> Option<u64> {
        let bits = self.dtype.bitsize() as u64;
        let mut dimensions = self.shape.iter().map(|&n| n as u64);
        let bits = dimensions.try_fold(bits, u64::checked_mul)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// Tensors by name; they lie one after another and have the bytes of their shapes.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Bytes of all tensors.
    pub(crate) bytes: u64,
}

impl Header {
    /// Reads the JSON of a header.
    pub(crate) fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(rename = "__metadata__")]
            _metadata: Option<BTreeMap<String, String>>,
            #[serde(flatten)]
            tensors: BTreeMap<String, Tensor>,
        }
        let Raw { tensors, .. } = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let mut in_order: Vec<_> = tensors.iter().collect();
        in_order.sort_by_key(|(_, tensor)| tensor.data_offsets);
        let mut end = 0_u64;
        for (name, tensor) in in_order {
            let (first, after) = tensor.data_offsets;
            let expected = tensor.bytes().and_then(|bytes| end.checked_add(bytes));
            if first != end || expected != Some(after) {
                let Tensor { dtype, shape, .. } = tensor;
                return Err(format!(
                    "{name}, {dtype:?} {shape:?}, has the bytes {first}..{after}, expected its size from {end} on"
                ));
            }
            end = after;
        }
        Ok(Self {
            tensors,
            bytes: end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tensors: &[(&str, &str, &str, [u64; 2])]) -> Result<Header, String> {
        let tensors = tensors.iter().map(|(name, dtype, shape, [first, after])| {
            format!(
                r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{first},{after}]}}"#
            )
        });
        let tensors: Vec<String> = tensors.collect();
        Header::read(format!("{{{}}}", tensors.join(",")).as_bytes())
    }

    #[test]
    fn tensors_lie_one_after_another_and_have_their_bytes() {
        let header = read(&[
            ("b", "F16", "[2,3]", [4, 16]),
            ("a", "F32", "[]", [0, 4]),
            ("none", "F32", "[0,5]", [16, 16]),
        ]);
        assert_eq!(header.unwrap().bytes, 16);
        for wrong in [
            ("b", "F16", "[2,3]", [4, 15]),
            ("b", "F16", "[2,3]", [5, 17]),
            ("b", "F16", "[2,3]", [0, 12]),
            ("b", "F16", "[4294967295,4294967295,4294967295]", [4, 4]),
            ("b", "F16", "[6]", [u64::MAX - 11, 0]),
        ] {
            let error = read(&[("a", "F32", "[1]", [0, 4]), wrong]).unwrap_err();
            assert!(error.contains("expected its size from"), "{error}");
        }
        for text in ["", "[]", "{\"a\":1}", "\u{0}"] {
            Header::read(text.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn more_than_32_bits_count() {
        let bytes = 4 * 64 * 30_000_000;
        let header = read(&[("a", "F32", "[30000000,64]", [0, bytes])]).unwrap();
        assert_eq!(header.bytes, 7_680_000_000);
    }
}
