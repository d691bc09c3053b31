//! `pytorch_model.bin`: read by burn-store's reader, which takes the pickle apart and
//! never runs it.

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context, Result};
use apet_plm::{Number, TensorInfo, Weights};
use pytorch_reader::{DType, PytorchReader};

/// A PyTorch checkpoint.
pub(crate) struct Pytorch {
    file: String,
    reader: PytorchReader,
    names: Vec<String>,
    /// The tensor that was read last: it is asked for piece by piece.
    last: RefCell<(String, Vec<u8>)>,
}

impl Pytorch {
    /// Reads what tensors there are.
    ///
    /// # Errors
    /// When it is no such file, or its pickle holds more than tensors.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let reader = PytorchReader::new(path).with_context(|| {
            format!("{file}: can not be read; it may be cut or not be a PyTorch checkpoint")
        })?;
        let mut names = reader.keys();
        names.sort_unstable();
        Ok(Self {
            file,
            reader,
            names,
            last: RefCell::default(),
        })
    }
}

impl Weights for Pytorch {
    fn file(&self) -> &str {
        &self.file
    }

    fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let tensor = self.reader.get(name)?;
        Some(TensorInfo {
            number: match tensor.dtype() {
                DType::F32 => Ok(Number::F32),
                DType::F16 => Ok(Number::F16),
                DType::BF16 => Ok(Number::Bf16),
                other => Err(format!("{other:?}")),
            },
            shape: tensor.shape().to_vec(),
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let mut last = self.last.borrow_mut();
        if last.0 != name {
            let tensor = self.reader.get(name);
            let tensor = tensor.ok_or_else(|| format!("{name} is missing"))?;
            // The one before goes first: at most one tensor is held here.
            last.1 = Vec::new();
            last.1 = tensor.read().map_err(|e| e.to_string())?;
            name.clone_into(&mut last.0);
        }
        let start = offset as usize;
        let bytes = last.1.get(start..start + into.len());
        into.copy_from_slice(bytes.ok_or_else(|| format!("{name} ends too early"))?);
        Ok(())
    }
}
