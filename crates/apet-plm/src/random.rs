//! A checkpoint of random numbers for any config.json, generated on reading: models of any
//! size without their files.

use std::collections::BTreeMap;

use apet_checkpoint::{Dtype, TensorInfo, Weights};

use crate::architecture::ModelArchitecture;

/// Numbers like a pretrained model's: matrices and tables around ±0.01 to 0.03, scales of
/// norms 1, biases 0. A number depends only on its tensor's name and its index.
#[derive(Debug)]
pub struct Random {
    dtype: Dtype,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Random {
    /// The tensors of a model. Parts of a fused tensor form one.
    pub fn new(architecture: &ModelArchitecture, dtype: Dtype) -> Self {
        let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for site in architecture.sites.clone() {
            match shapes.get_mut(&site.tensor) {
                Some(shape) => shape[0] += site.shape[0],
                None => {
                    shapes.insert(site.tensor, site.shape);
                }
            }
        }
        Self { dtype, shapes }
    }
}

impl Weights for Random {
    fn file(&self) -> &str {
        "random"
    }

    fn names(&self) -> Vec<&str> {
        self.shapes.keys().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let shape = self.shapes.get(name)?.clone();
        Some(TensorInfo {
            dtype: Ok(self.dtype),
            shape,
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let size = self.dtype.size();
        let vector = self.shapes.get(name).is_some_and(|shape| shape.len() == 1);
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        for (at, number) in into.chunks_exact_mut(size).enumerate() {
            // splitmix64 of the index.
            let place = offset / size as u64 + at as u64;
            let mut bits = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            // A bfloat16 from 2^-7 to 2^-5, with a sign.
            let half = match (vector, name.ends_with(".bias")) {
                (true, true) => 0u16,
                (true, false) => 0x3f80,
                _ => 0x3c00 | ((bits >> 32) as u16 & 0x80ff),
            };
            match self.dtype {
                Dtype::Bf16 => number.copy_from_slice(&half.to_le_bytes()),
                _ => number.copy_from_slice(&(u32::from(half) << 16).to_le_bytes()),
            }
        }
        Ok(())
    }
}
