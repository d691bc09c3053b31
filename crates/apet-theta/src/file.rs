//! theta as a safetensors file: each weight's values, sparse ones with their positions.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::theta::{Structure, Theta};

/// A theta file that does not fit, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

impl Theta {
    /// Writes `values` (as read from [`Theta::values`]) in safetensors form: a tensor a
    /// weight, `NAME` f32, and `NAME.positions` i64 (row-major) beside sparse ones.
    /// `metadata` stands in the header.
    ///
    /// # Errors
    /// When `values` are not as many as theta has.
    pub fn to_safetensors(
        &self,
        values: &[f32],
        metadata: HashMap<String, String>,
    ) -> Result<Vec<u8>, FileError> {
        let wrong = |e: safetensors::SafeTensorError| FileError(e.to_string());
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut positions = Vec::new();
        for weight in self.weights() {
            if let Structure::Sparse { positions: p, .. } = &weight.structure {
                let data: Vec<u8> = p.iter().flat_map(|&p| (p as i64).to_le_bytes()).collect();
                positions.push((format!("{}.positions", weight.name), p.len(), data));
            }
        }
        let mut tensors = Vec::new();
        for weight in self.weights() {
            let data = bytes
                .get(weight.offset * 4..(weight.offset + weight.len()) * 4)
                .ok_or_else(|| FileError(format!("{}: too few values", weight.name)))?;
            let view = TensorView::new(Dtype::F32, weight.shape.clone(), data).map_err(wrong)?;
            tensors.push((weight.name.clone(), view));
        }
        for (name, len, data) in &positions {
            let view = TensorView::new(Dtype::I64, vec![*len], data).map_err(wrong)?;
            tensors.push((name.clone(), view));
        }
        safetensors::serialize(tensors, Some(metadata)).map_err(wrong)
    }

    /// Reads the values of a theta file that was written for the same layout, in the
    /// order of the flat vector.
    ///
    /// # Errors
    /// Names the first weight that is missing or has another shape or other positions.
    pub fn read_safetensors(&self, bytes: &[u8]) -> Result<Vec<f32>, FileError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| FileError(format!("{e}, expected a theta file (safetensors)")))?;
        let mut values = Vec::new();
        for weight in self.weights() {
            let name = &weight.name;
            let view = file
                .tensor(name)
                .map_err(|_| FileError(format!("{name} is missing: the file is of another run")))?;
            if view.shape() != weight.shape || view.dtype() != Dtype::F32 {
                return Err(FileError(format!(
                    "{name} is {:?} {:?}, expected F32 {:?}: the file is of another run",
                    view.dtype(),
                    view.shape(),
                    weight.shape
                )));
            }
            if let Structure::Sparse { positions, .. } = &weight.structure {
                let expected = positions.iter().flat_map(|&p| (p as i64).to_le_bytes());
                let found = file.tensor(&format!("{name}.positions"));
                if !found.is_ok_and(|v| v.data().iter().copied().eq(expected)) {
                    return Err(FileError(format!(
                        "{name} has other positions: the file is of another placement seed, count or pool"
                    )));
                }
            }
            let floats = view.data().chunks_exact(4);
            values.extend(floats.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        }
        Ok(values)
    }
}
