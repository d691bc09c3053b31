//! `pytorch_model.bin` and its shards: read by burn-store's reader, which takes the pickle
//! apart and never runs it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use apet_checkpoint::{Dtype, TensorInfo, Weights};
use pytorch_reader::{DType, PytorchReader, Tensor};

/// A PyTorch checkpoint in one or several files.
pub(crate) struct Pytorch {
    file: String,
    readers: Vec<PytorchReader>,
    /// Reader of each tensor.
    tensors: BTreeMap<String, usize>,
    /// The tensor that was read last: callers read it piece by piece.
    last: RefCell<(String, Vec<u8>)>,
}

impl Pytorch {
    /// Reads what tensors there are. `file` is the name of all files in errors.
    ///
    /// # Errors
    /// When one is no such file, or its pickle holds more than tensors, or a tensor is in two.
    pub(crate) fn open(file: &str, paths: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let mut weights = Self {
            file: file.to_owned(),
            readers: Vec::new(),
            tensors: BTreeMap::new(),
            last: RefCell::default(),
        };
        for path in paths {
            let shown = path.display();
            let reader = PytorchReader::new(&path).with_context(|| {
                format!("{shown}: cannot be read; it may be cut or not be a PyTorch checkpoint")
            })?;
            for name in reader.keys() {
                let before = weights.tensors.insert(name.clone(), weights.readers.len());
                if before.is_some() {
                    bail!("{shown}: {name} is in another shard, too");
                }
            }
            weights.readers.push(reader);
        }
        Ok(weights)
    }

    fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.readers.get(*self.tensors.get(name)?)?.get(name)
    }
}

impl Weights for Pytorch {
    fn file(&self) -> &str {
        &self.file
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let tensor = self.tensor(name)?;
        Some(TensorInfo {
            dtype: match tensor.dtype() {
                DType::F32 => Ok(Dtype::F32),
                DType::F16 => Ok(Dtype::F16),
                DType::BF16 => Ok(Dtype::Bf16),
                other => Err(format!("{other:?}")),
            },
            shape: tensor.shape().to_vec(),
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let mut last = self.last.borrow_mut();
        if last.0 != name {
            let tensor = self.tensor(name);
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
