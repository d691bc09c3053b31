//! Loads a checkpoint's tensors onto a device as the sites of a model.

use apet_checkpoint::{Dtype, PlmError, Weights};
use apet_record::{Module, Part, SubLayer};
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};
use half::{bf16, f16};

use crate::hooks::{InsertionPoint, InsertionPointId, Linear, Norm, Param, Rows, Site, Table};

/// Bytes that are read from a checkpoint at once: the memory of loading besides the tensors.
const STAGING: usize = 1 << 20;

/// The number of problems that an error lists. The rest are counted.
const SHOWN: usize = 8;

/// Loads tensors by name and collects all problems, so that one error lists them.
pub(crate) struct Loader<'a> {
    /// None to list the sites without reading a checkpoint.
    weights: Option<&'a dyn Weights>,
    device: &'a Device,
    dtype: Dtype,
    /// Whether numbers are read. If not, only names, shapes and types are checked.
    reads: bool,
    /// The prefix of all names: `bert.`, or nothing.
    prefix: String,
    staging: Vec<u8>,
    hash: blake3::Hasher,
    sites: Vec<Site>,
    insertion_points: Vec<InsertionPoint>,
    values: Vec<Tensor<1>>,
    problems: Vec<String>,
    problems_in_all: usize,
}

/// The loaded parts of a model.
pub(crate) struct Loaded {
    pub(crate) sites: Vec<Site>,
    pub(crate) insertion_points: Vec<InsertionPoint>,
    /// The frozen value of each site, flat.
    pub(crate) values: Vec<Tensor<1>>,
    /// BLAKE3 of the tensors' bytes as they were read, hexadecimal.
    pub(crate) hash: String,
}

/// The role of a tensor: its part of the block, and the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteRole {
    part: Part,
    layer: Option<usize>,
    cross: bool,
}

impl SiteRole {
    pub(crate) fn block(part: Part, number: usize) -> Self {
        Self {
            part,
            layer: Some(number),
            cross: false,
        }
    }

    pub(crate) fn outside(part: Part) -> Self {
        Self {
            part,
            layer: None,
            cross: false,
        }
    }

    /// The same in cross-attention.
    pub(crate) fn cross(self) -> Self {
        Self {
            cross: true,
            ..self
        }
    }
}

impl<'a> Loader<'a> {
    /// Starts to load matrices as `dtype`. Vectors (scales, biases) are always f32.
    pub(crate) fn new(weights: Option<&'a dyn Weights>, device: &'a Device, dtype: Dtype) -> Self {
        Self {
            weights,
            device,
            dtype,
            reads: true,
            prefix: String::new(),
            staging: Vec::new(),
            hash: blake3::Hasher::new(),
            sites: Vec::new(),
            insertion_points: Vec::new(),
            values: Vec::new(),
            problems: Vec::new(),
            problems_in_all: 0,
        }
    }

    /// Checks the tensors of a model as loading does, without reading their numbers.
    pub(crate) fn check(weights: &'a dyn Weights, device: &'a Device) -> Self {
        Self {
            reads: false,
            ..Self::new(Some(weights), device, Dtype::F32)
        }
    }

    /// Sets the prefix of all names: the one of `anchor`, a tensor that every checkpoint of the
    /// family has.
    pub(crate) fn anchor(&mut self, anchor: &str) {
        let names = self.weights.map(Weights::names).unwrap_or_default();
        let found = names.iter().find_map(|name| name.strip_suffix(anchor));
        self.prefix = found.unwrap_or_default().to_owned();
    }

    /// A linear layer `name.weight` `[outputs, inputs]` and, with `bias`, `name.bias`.
    pub(crate) fn linear(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        at: SiteRole,
        bias: bool,
    ) -> Linear {
        let weight = self.param(&format!("{name}.weight"), None, [outputs, inputs], at);
        let bias = bias.then(|| self.param(&format!("{name}.bias"), None, [outputs], at));
        Linear { weight, bias }
    }

    /// A part of a fused linear layer: some of its rows, under the name `part`.
    pub(crate) fn linear_part(
        &mut self,
        name: &str,
        part: &'static str,
        rows: Rows,
        [outputs, inputs]: [usize; 2],
        at: SiteRole,
        bias: bool,
    ) -> Linear {
        let part = Some((part, rows));
        let weight = self.param(&format!("{name}.weight"), part, [outputs, inputs], at);
        let bias = bias.then(|| self.param(&format!("{name}.bias"), part, [outputs], at));
        Linear { weight, bias }
    }

    /// A LayerNorm `name.weight` and `name.bias`, `[width]`.
    pub(crate) fn norm(
        &mut self,
        name: &str,
        width: usize,
        epsilon: f64,
        layer: Option<usize>,
    ) -> Norm {
        let at = SiteRole {
            layer,
            ..SiteRole::outside(Part::Norm)
        };
        Norm {
            scale: self.param(&format!("{name}.weight"), None, [width], at),
            bias: Some(self.param(&format!("{name}.bias"), None, [width], at)),
            epsilon,
            centered: true,
        }
    }

    /// An RMSNorm `name.weight`, `[width]`.
    pub(crate) fn rms_norm(
        &mut self,
        name: &str,
        width: usize,
        epsilon: f64,
        layer: Option<usize>,
    ) -> Norm {
        let at = SiteRole {
            layer,
            ..SiteRole::outside(Part::Norm)
        };
        Norm {
            scale: self.param(&format!("{name}.weight"), None, [width], at),
            bias: None,
            epsilon,
            centered: false,
        }
    }

    /// An embedding table `name.weight`, `[rows, width]`.
    pub(crate) fn table(&mut self, name: &str, shape: [usize; 2]) -> Table {
        let at = SiteRole::outside(Part::Embedding);
        Table {
            rows: self.param(&format!("{name}.weight"), None, shape, at),
        }
    }

    /// An untied language-model head `name.weight` `[rows, width]`: its name has no prefix.
    pub(crate) fn lm_head(&mut self, name: &str, shape: [usize; 2]) -> Table {
        let prefix = std::mem::take(&mut self.prefix);
        let at = SiteRole::outside(Part::LmHead);
        let rows = self.param(&format!("{name}.weight"), None, shape, at);
        self.prefix = prefix;
        Table { rows }
    }

    /// The insertion point at the embedded input, which is the first one in every family.
    pub(crate) fn input(&mut self, width: usize) -> InsertionPointId {
        self.insertion_point("prompt".into(), width, None, None)
    }

    /// The insertion point after a sub-layer of block `layer`, under the block's name.
    pub(crate) fn after(
        &mut self,
        block: &str,
        sub_layer: SubLayer,
        width: usize,
        layer: usize,
    ) -> InsertionPointId {
        let name = match sub_layer {
            SubLayer::Attention => "after_attention",
            SubLayer::Ffn => "after_ffn",
        };
        let name = format!("{}{block}.{name}", self.prefix);
        self.insertion_point(name, width, Some(sub_layer), Some(layer))
    }

    fn insertion_point(
        &mut self,
        name: String,
        width: usize,
        after: Option<SubLayer>,
        layer: Option<usize>,
    ) -> InsertionPointId {
        self.insertion_points.push(InsertionPoint {
            name,
            width,
            after,
            layer,
        });
        self.insertion_points.len() - 1
    }

    /// Whether the checkpoint has a tensor of this name. True without a checkpoint.
    pub(crate) fn has(&self, name: &str) -> bool {
        let name = format!("{}{name}", self.prefix);
        self.weights
            .is_none_or(|weights| weights.info(&name).is_some())
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        part: Option<(&str, Rows)>,
        shape: [usize; D],
        at: SiteRole,
    ) -> Param<D> {
        let tensor = format!("{}{name}", self.prefix);
        let rows = part.map(|(_, rows)| rows);
        let dtype = if D == 1 { Dtype::F32 } else { self.dtype };
        let read = self
            .weights
            .map(|weights| self.read(weights, &tensor, rows, &shape, dtype));
        let (flat, value) = match read {
            Some(Ok(Some(data))) => {
                let dtype = data.dtype();
                let flat = Tensor::<1>::from_data(data, (self.device, dtype));
                (flat.clone(), flat.reshape(shape))
            }
            // Never used: loading ends with an error, or lists the sites only.
            other => {
                if let Some(Err(problem)) = other {
                    self.problem(problem);
                }
                let empty = || (self.device, DType::F32);
                (Tensor::empty([0], empty()), Tensor::empty([0; D], empty()))
            }
        };
        let name = match part {
            Some((part, _)) => format!("{tensor}[{part}]"),
            None => tensor.clone(),
        };
        // The biases of linear layers in blocks are a separate kind of module.
        let module = match at.part.module() {
            Module::Attention | Module::Ffn if D == 1 => Module::Bias,
            other => other,
        };
        self.sites.push(Site {
            name,
            tensor,
            rows,
            shape: shape.to_vec(),
            module,
            part: at.part,
            layer: at.layer,
            cross: at.cross,
        });
        self.values.push(flat);
        Param {
            site: self.sites.len() - 1,
            value,
        }
    }

    fn problem(&mut self, problem: String) {
        self.problems_in_all += 1;
        if self.problems.len() < SHOWN {
            self.problems.push(problem);
        }
    }

    /// Reads a tensor, or some of its rows, into numbers of the given type. None if it is only
    /// checked.
    fn read(
        &mut self,
        weights: &dyn Weights,
        name: &str,
        rows: Option<Rows>,
        shape: &[usize],
        dtype: Dtype,
    ) -> Result<Option<TensorData>, String> {
        let info = weights.info(name);
        let info = info.ok_or_else(|| format!("{name} is missing"))?;
        let mut whole = shape.to_vec();
        if let (Some(rows), Some(first)) = (rows, whole.first_mut()) {
            *first = *first / rows.count * rows.stride;
        }
        if info.shape != whole {
            let found = &info.shape;
            return Err(format!("{name} has shape {found:?}, expected {whole:?}"));
        }
        let stored = info
            .dtype
            .map_err(|other| format!("{name} has type {other}, expected F32, F16 or BF16"))?;
        if !self.reads {
            return Ok(None);
        }
        let size: usize = shape.iter().product();
        let width: usize = shape.iter().skip(1).product();
        let total = shape.first().copied().unwrap_or(1);
        // Ranges of adjacent rows.
        let ranges: Vec<(usize, usize)> = match rows {
            None => vec![(0, total)],
            Some(rows) => (0..total / rows.count)
                .map(|group| (rows.of(group * rows.count), rows.count))
                .collect(),
        };
        let mut numbers = Numbers::with_capacity(dtype, size);
        for (first, count) in ranges {
            let start = (first * width * stored.size()) as u64;
            let bytes = count * width * stored.size();
            for offset in (0..bytes).step_by(STAGING) {
                let length = STAGING.min(bytes - offset);
                self.staging.resize(length, 0);
                let at = start + offset as u64;
                weights.read(name, at, &mut self.staging)?;
                self.hash.update(&self.staging);
                numbers.extend(stored, &self.staging);
            }
        }
        Ok(Some(numbers.data(size)))
    }

    /// Ends with the sites and insertion points, without values.
    pub(crate) fn architecture(self) -> (Vec<Site>, Vec<InsertionPoint>) {
        (self.sites, self.insertion_points)
    }

    /// Ends loading.
    ///
    /// # Errors
    /// Lists every missing, mis-shaped and surplus tensor together. A name that starts with one
    /// of `unused` belongs to a part that is not loaded.
    pub(crate) fn finish(mut self, unused: &[String]) -> Result<Loaded, PlmError> {
        let used: std::collections::HashSet<&str> =
            self.sites.iter().map(|site| site.tensor.as_str()).collect();
        let is_unused = |name: &str| {
            let bare = name.strip_prefix(&self.prefix).unwrap_or(name);
            let begins = |u: &String| bare.starts_with(u) || name.starts_with(u);
            unused.iter().any(begins)
        };
        let names = self.weights.map(Weights::names).unwrap_or_default();
        let surplus: Vec<String> = names
            .into_iter()
            .filter(|name| !used.contains(name) && !is_unused(name))
            .map(|name| format!("{name} is not part of this model"))
            .collect();
        surplus
            .into_iter()
            .for_each(|problem| self.problem(problem));
        if self.problems_in_all == 0 {
            return Ok(Loaded {
                sites: self.sites,
                insertion_points: self.insertion_points,
                values: self.values,
                hash: self.hash.finalize().to_hex().to_string(),
            });
        }
        let mut problem = self.problems.join("; ");
        if self.problems_in_all > SHOWN {
            problem += &format!("; and {} more", self.problems_in_all - SHOWN);
        }
        Err(PlmError::new(
            self.weights.map_or("", Weights::file),
            format!("{problem}: the weights do not belong to this config.json"),
        ))
    }
}

/// Numbers of a tensor, by their type.
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Numbers {
    fn with_capacity(dtype: Dtype, size: usize) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(Vec::with_capacity(size)),
            Dtype::F16 => Self::F16(Vec::with_capacity(size)),
            Dtype::Bf16 => Self::Bf16(Vec::with_capacity(size)),
        }
    }

    /// Appends stored numbers, given as little-endian bytes.
    fn extend(&mut self, stored: Dtype, bytes: &[u8]) {
        let four = || bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        let two = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match (self, stored) {
            (Self::F32(v), Dtype::F32) => v.extend(four().map(f32::from_le_bytes)),
            (Self::F32(v), Dtype::F16) => v.extend(two().map(|b| f16::from_le_bytes(b).to_f32())),
            (Self::F32(v), Dtype::Bf16) => {
                v.extend(two().map(|b| bf16::from_le_bytes(b).to_f32()));
            }
            (Self::F16(v), Dtype::F32) => {
                v.extend(four().map(|b| f16::from_f32(f32::from_le_bytes(b))));
            }
            (Self::F16(v), Dtype::F16) => v.extend(two().map(f16::from_le_bytes)),
            (Self::F16(v), Dtype::Bf16) => {
                v.extend(two().map(|b| f16::from_f32(bf16::from_le_bytes(b).to_f32())));
            }
            (Self::Bf16(v), Dtype::F32) => {
                v.extend(four().map(|b| bf16::from_f32(f32::from_le_bytes(b))));
            }
            (Self::Bf16(v), Dtype::F16) => {
                v.extend(two().map(|b| bf16::from_f32(f16::from_le_bytes(b).to_f32())));
            }
            (Self::Bf16(v), Dtype::Bf16) => v.extend(two().map(bf16::from_le_bytes)),
        }
    }

    fn data(self, size: usize) -> TensorData {
        match self {
            Self::F32(v) => TensorData::new(v, [size]),
            Self::F16(v) => TensorData::new(v, [size]),
            Self::Bf16(v) => TensorData::new(v, [size]),
        }
    }
}
