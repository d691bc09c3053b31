//! Reading `model.safetensors`, tensor by tensor, into a model's sites.

use apet_record::Module;
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};
use safetensors::{Dtype, SafeTensors};

use crate::{Linear, Norm, Param, PlmError, Site, Table};

/// A checkpoint's tensors, not yet on a device.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    tensors: SafeTensors<'a>,
    /// What stands before the model's own names: `bert.`, or nothing.
    prefix: String,
}

impl<'a> Checkpoint<'a> {
    /// Reads the header of a safetensors file; the tensors stay where they are.
    ///
    /// `anchor` is a name every checkpoint of the family has; what stands before
    /// it in this file is the prefix of all names.
    ///
    /// # Errors
    /// When the file is cut, too long, or no safetensors file.
    pub fn read(file: &str, bytes: &'a [u8], anchor: &str) -> Result<Self, PlmError> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|e| PlmError::new(file, describe(&e.to_string(), bytes.len())))?;
        let prefix = tensors
            .names()
            .iter()
            .find_map(|name| name.strip_suffix(anchor))
            .unwrap_or_default()
            .to_owned();
        Ok(Self { tensors, prefix })
    }
}

/// safetensors says what it could not do; this says what the user can.
fn describe(error: &str, len: usize) -> String {
    format!(
        "{error} (file of {len} bytes), expected a whole safetensors file; it may be cut or not be one: fetch it again"
    )
}

/// Puts a checkpoint's tensors on a device as the sites of a model, and collects
/// everything that does not fit, so that one error tells all.
#[derive(Debug)]
pub struct Loader<'a> {
    file: &'a str,
    checkpoint: Checkpoint<'a>,
    device: &'a Device,
    sites: Vec<Site>,
    values: Vec<Tensor<1>>,
    problems: Vec<String>,
}

impl<'a> Loader<'a> {
    /// Begins to load.
    pub fn new(file: &'a str, checkpoint: Checkpoint<'a>, device: &'a Device) -> Self {
        Self {
            file,
            checkpoint,
            device,
            sites: Vec::new(),
            values: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A linear layer `name.weight` `[outputs, inputs]` and `name.bias`.
    pub fn linear(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        module: Module,
        layer: Option<usize>,
    ) -> Linear {
        let bias_module = match module {
            Module::Pooler => Module::Pooler,
            _ => Module::Bias,
        };
        Linear {
            weight: self.param(&format!("{name}.weight"), [outputs, inputs], module, layer),
            bias: Some(self.param(&format!("{name}.bias"), [outputs], bias_module, layer)),
        }
    }

    /// A LayerNorm `name.weight` and `name.bias`, `[width]`.
    pub fn norm(&mut self, name: &str, width: usize, epsilon: f64, layer: Option<usize>) -> Norm {
        Norm {
            scale: self.param(&format!("{name}.weight"), [width], Module::Norm, layer),
            bias: self.param(&format!("{name}.bias"), [width], Module::Norm, layer),
            epsilon,
        }
    }

    /// An embedding table `name.weight`, `[rows, width]`.
    pub fn table(&mut self, name: &str, shape: [usize; 2]) -> Table {
        Table {
            rows: self.param(&format!("{name}.weight"), shape, Module::Embedding, None),
        }
    }

    /// Whether the checkpoint has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        let name = format!("{}{name}", self.checkpoint.prefix);
        self.checkpoint.tensors.tensor(&name).is_ok()
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        module: Module,
        layer: Option<usize>,
    ) -> Param<D> {
        let name = format!("{}{name}", self.checkpoint.prefix);
        let values = self.read(&name, &shape).unwrap_or_else(|problem| {
            self.problems.push(problem);
            vec![0.0; shape.iter().product()]
        });
        let len = values.len();
        let flat =
            Tensor::<1>::from_data(TensorData::new(values, [len]), (self.device, DType::F32));
        self.sites.push(Site {
            name,
            shape: shape.to_vec(),
            module,
            layer,
        });
        self.values.push(flat.clone());
        Param {
            site: self.sites.len() - 1,
            value: flat.reshape(shape),
        }
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let view = self
            .checkpoint
            .tensors
            .tensor(name)
            .map_err(|_| format!("{name} is missing"))?;
        if view.shape() != shape {
            return Err(format!(
                "{name} has shape {:?}, expected {shape:?}",
                view.shape()
            ));
        }
        floats(view.dtype(), view.data()).ok_or_else(|| {
            format!(
                "{name} has type {:?}, expected F32, F16 or BF16",
                view.dtype()
            )
        })
    }

    /// Ends loading.
    ///
    /// # Errors
    /// Lists every missing, mis-shaped and surplus tensor together. Tensors whose
    /// name begins with one of `unused` belong to parts that are not loaded.
    pub fn finish(mut self, unused: &[&str]) -> Result<(Vec<Site>, Vec<Tensor<1>>), PlmError> {
        let mut surplus: Vec<&str> = self
            .checkpoint
            .tensors
            .names()
            .into_iter()
            .filter(|name| !self.sites.iter().any(|site| site.name == *name))
            .filter(|name| {
                let bare = name.strip_prefix(&self.checkpoint.prefix).unwrap_or(name);
                !unused
                    .iter()
                    .any(|u| bare.starts_with(u) || name.starts_with(u))
            })
            .collect();
        surplus.sort_unstable();
        self.problems.extend(
            surplus
                .iter()
                .map(|name| format!("{name} is not part of this model")),
        );
        if self.problems.is_empty() {
            return Ok((self.sites, self.values));
        }
        let shown = 8;
        let mut problem = self.problems[..self.problems.len().min(shown)].join("; ");
        if self.problems.len() > shown {
            problem += &format!("; and {} more", self.problems.len() - shown);
        }
        Err(PlmError::new(
            self.file,
            format!("{problem}: the weights do not belong to this config.json"),
        ))
    }
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let floats = match dtype {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::F16 => bytes
            .chunks_exact(2)
            .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        Dtype::BF16 => bytes
            .chunks_exact(2)
            .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        _ => return None,
    };
    Some(floats)
}
