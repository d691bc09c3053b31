//! An adapter of peft as it is taken apart.

use std::collections::BTreeMap;

use apet_plm::{Dtype, ModelArchitecture, floats};
use burn::tensor::Device;
use safetensors::{Dtype as Stored, SafeTensors};

use crate::{
    error::FileError,
    layout_builder::LayoutBuilder,
    peft::{
        config::Config,
        module::{Module, WRAPPED, modules},
    },
};

/// A tensor of adapter_model.safetensors.
#[derive(Debug)]
pub struct Kept {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub numbers: Numbers,
}

/// Values of a tensor.
#[derive(Debug)]
pub enum Numbers {
    /// F32, F16 or BF16.
    Floats(Vec<f32>),
    /// I32 or I64.
    Ints(Vec<i64>),
}

/// The adapter as it is taken apart: a tensor that was used is taken out.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The base model.
    pub architecture: &'a ModelArchitecture,
    /// Where positions are kept.
    pub device: &'a Device,
    /// The fields of adapter_config.json.
    pub config: Config,
    /// The tensors, by name without peft's prefix.
    pub tensors: BTreeMap<String, Kept>,
}

/// The deltas that were read, with their values in the order of theta.
#[derive(Default)]
pub struct Found {
    /// The deltas.
    pub layout: LayoutBuilder,
    /// Their values.
    pub values: Vec<f32>,
}

/// An error in a tensor of the file.
pub(crate) fn tensor_error(name: &str, problem: impl std::fmt::Display) -> FileError {
    FileError(format!("adapter_model.safetensors: {name}: {problem}"))
}

impl<'a> Reader<'a> {
    /// Reads all tensors of an `adapter_model.safetensors`.
    ///
    /// # Errors
    /// When it is no such file, or a tensor has another type.
    pub fn new(
        architecture: &'a ModelArchitecture,
        device: &'a Device,
        config: Config,
        weights: &[u8],
    ) -> Result<Self, FileError> {
        let wrong = |e: safetensors::SafeTensorError| {
            FileError(format!(
                "adapter_model.safetensors: {e}, expected a safetensors file"
            ))
        };
        let file = SafeTensors::deserialize(weights).map_err(wrong)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let numbers = numbers(&name, view.dtype(), view.data())?;
            let bare = name.strip_prefix(WRAPPED).unwrap_or(&name).to_owned();
            let shape = view.shape().to_vec();
            tensors.insert(bare, Kept { shape, numbers });
        }
        Ok(Self {
            architecture,
            device,
            config,
            tensors,
        })
    }

    /// The modules that have a tensor of a name, with what peft calls them.
    ///
    /// # Errors
    /// Names a module that the model does not have.
    pub fn with(&self, suffix: &str) -> Result<Vec<(Module, String)>, FileError> {
        let end = format!(".{suffix}");
        let mut found: Vec<(String, bool)> = self
            .tensors
            .keys()
            .filter_map(|name| Some((name.strip_suffix(&end)?.to_owned(), false)))
            .collect();
        let mut with = Vec::new();
        for module in modules(self.architecture) {
            let is_it = |path: &str| self.architecture.bare(path) == module.path;
            if let Some((path, seen)) = found.iter_mut().find(|(path, _)| is_it(path)) {
                *seen = true;
                with.push((module, path.clone()));
            }
        }
        match found.iter().find(|(_, seen)| !seen) {
            Some((path, _)) => Err(tensor_error(
                &format!("{path}.{suffix}"),
                format!("{} has no such module", self.architecture.name),
            )),
            None => Ok(with),
        }
    }

    /// Takes a tensor out of the file.
    ///
    /// # Errors
    /// When it is missing.
    pub fn take(&mut self, name: &str) -> Result<Kept, FileError> {
        let taken = self.tensors.remove(name);
        taken.ok_or_else(|| tensor_error(name, "is missing"))
    }

    /// Floats of a shape.
    ///
    /// # Errors
    /// When the tensor is missing, or has another shape.
    pub fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, FileError> {
        let stored = self.take(name)?;
        let found = stored.shape;
        match stored.numbers {
            Numbers::Floats(values) if found == shape => Ok(values),
            _ => Err(tensor_error(
                name,
                format!("has shape {found:?}, expected floats {shape:?}"),
            )),
        }
    }

    /// Rows and columns of a module's whole weight.
    pub fn shape(&self, module: &Module) -> [usize; 2] {
        let sites = module
            .weights
            .iter()
            .map(|&id| &self.architecture.sites[id]);
        let rows = sites.clone().map(|site| site.shape[0]).sum();
        let width = sites.map(|site| site.shape.get(1).copied().unwrap_or(1));
        [rows, width.max().unwrap_or(1)]
    }

    /// Refuses a module that is no linear layer of a block; `name` is the tensor that was found there.
    ///
    /// # Errors
    /// Names the tensor.
    pub fn check_linear(&self, module: &Module, name: &str) -> Result<(), FileError> {
        let mut sites = module
            .weights
            .iter()
            .map(|&id| &self.architecture.sites[id]);
        match sites.all(|site| site.linear_layer().is_some()) {
            true => Ok(()),
            false => Err(tensor_error(name, "stands at no linear layer of a block")),
        }
    }

    /// The first dimension of a tensor; 0 if it is missing.
    pub fn first_dimension(&self, name: &str) -> usize {
        let tensor = self.tensors.get(name);
        tensor.and_then(|t| t.shape.first().copied()).unwrap_or(0)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// Names a tensor that nothing has taken.
    pub fn finish(self) -> Result<(), FileError> {
        match self.tensors.keys().next() {
            Some(name) => Err(tensor_error(
                name,
                "is no tensor of this kind of adapter, so theta cannot hold it",
            )),
            None => Ok(()),
        }
    }
}

fn numbers(name: &str, dtype: Stored, data: &[u8]) -> Result<Numbers, FileError> {
    let ints = |size: usize, number: fn(&[u8]) -> i64| {
        Numbers::Ints(data.chunks_exact(size).map(number).collect())
    };
    Ok(match dtype {
        Stored::F32 => Numbers::Floats(floats(Dtype::F32, data)),
        Stored::F16 => Numbers::Floats(floats(Dtype::F16, data)),
        Stored::BF16 => Numbers::Floats(floats(Dtype::Bf16, data)),
        Stored::I32 => ints(4, |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()),
        Stored::I64 => ints(8, |b| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(b);
            i64::from_le_bytes(bytes)
        }),
        other => {
            return Err(tensor_error(
                name,
                format!("is {other:?}, expected F32, F16, BF16, I32 or I64"),
            ));
        }
    })
}
