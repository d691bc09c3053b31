//! From peft's files to theta.

use std::collections::BTreeMap;

use apet_plm::{Dtype, INPUT, ModelArchitecture, Plm, Site, SiteId, floats};
use apet_record::Part;
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};
use regex_lite::Regex;
use safetensors::{Dtype as Stored, SafeTensors};
use serde_json::{Map, Value};

use super::{Module, WRAPPED, config_error, method::object, modules, rows_of};
use crate::{
    file::FileError,
    method::Recipe,
    theta::{Layout, Theta},
};

/// Fields of adapter_config.json that change nothing of what a finished adapter does.
const HARMLESS: [&str; 36] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "init_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "mask_type",
    "megatron_core",
    "modules_to_save",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "peft_type",
    "peft_version",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "qalora_group_size",
    "r",
    "random_seed",
    "rank_pattern",
    "revision",
    "save_precomputed_indices",
    "select_top",
    "sparsity",
    "target_modules",
    "task_type",
    "token_dim",
    "tokenizer_name_or_path",
];

/// Initial values that leave the base model as it is.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "orthogonal", "mica"];

/// A tensor of adapter_model.safetensors.
struct Kept {
    shape: Vec<usize>,
    numbers: Numbers,
}

enum Numbers {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

/// The adapter as it is taken apart: what was used is taken out.
struct Reader<'a> {
    architecture: &'a ModelArchitecture,
    config: Map<String, Value>,
    tensors: BTreeMap<String, Kept>,
}

/// What is put where, with its values, before their order is theta's.
#[derive(Default)]
struct Found {
    recipe: Recipe,
    values: Vec<f32>,
}

impl Theta {
    /// Reads an adapter of peft onto its base model: the texts of `adapter_config.json` and
    /// the bytes of `adapter_model.safetensors`.
    ///
    /// # Errors
    /// Names the field or tensor, and why theta can not hold it.
    pub fn from_peft(plm: &Plm, config: &str, weights: &[u8]) -> Result<Self, FileError> {
        let mut reader = Reader::new(plm.architecture(), config, weights)?;
        let kind = reader.word("peft_type").unwrap_or_default().to_owned();
        let mut found = Found::default();
        let device = plm.device();
        match kind.as_str() {
            "LORA" => reader.low_rank("lora_A.weight", "lora_B.weight", &mut found)?,
            "PROMPT_TUNING" => reader.prompt(&mut found)?,
            "IA3" => reader.scales(&mut found)?,
            "LN_TUNING" => reader.norms(&mut found)?,
            "SHIRA" => reader.sparse(("shira_indices", "shira_weight"), device, &mut found)?,
            "SUPERTUNING" => {
                let names = ("supertuning_indices", "supertuning_values");
                reader.sparse(names, device, &mut found)?;
                let (a, b) = ("supertuning_lora_A.weight", "supertuning_lora_B.weight");
                reader.low_rank(a, b, &mut found)?;
            }
            other => {
                return Err(config_error(format!(
                    "peft_type: found \"{other}\", expected LORA, PROMPT_TUNING, IA3, LN_TUNING, SHIRA or SUPERTUNING"
                )));
            }
        }
        reader.head(&mut found)?;
        reader.finish()?;
        let mut layout =
            Layout::from_recipe(&format!("peft {kind}"), found.recipe, plm.architecture());
        if layout.is_empty() {
            return Err(config_error("the adapter has no tensor".into()));
        }
        layout.info.requested_parameters = layout.info.trainable_parameters;
        let mut theta = Self::of(plm, 0, layout);
        let data = TensorData::new(found.values, [theta.layout().len()]);
        theta.set_values(Tensor::from_data(data, (device, DType::F32)));
        Ok(theta)
    }
}

fn tensor_error(name: &str, problem: impl std::fmt::Display) -> FileError {
    FileError(format!("adapter_model.safetensors: {name}: {problem}"))
}

impl<'a> Reader<'a> {
    fn new(
        architecture: &'a ModelArchitecture,
        config: &str,
        weights: &[u8],
    ) -> Result<Self, FileError> {
        let config = object(config)?;
        for (field, value) in &config {
            let is_set = match value {
                Value::Null | Value::Bool(false) => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(items) => !items.is_empty(),
                Value::String(text) => !text.is_empty(),
                _ => true,
            };
            let harmless = HARMLESS.contains(&field.as_str())
                || match (field.as_str(), value) {
                    ("bias", Value::String(text)) => text == "none",
                    ("use_rslora", _) => true,
                    ("init_lora_weights", Value::Bool(_)) => true,
                    ("init_lora_weights", Value::String(text)) => {
                        PLAIN_STARTS.contains(&text.as_str())
                    }
                    _ => false,
                };
            if is_set && !harmless {
                return Err(config_error(format!(
                    "{field}: found {value}, which theta can not hold; expected it unset"
                )));
            }
        }
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
            config,
            tensors,
        })
    }

    fn word(&self, field: &str) -> Option<&str> {
        self.config.get(field).and_then(Value::as_str)
    }

    fn number(&self, field: &str) -> Option<f64> {
        self.config.get(field).and_then(Value::as_f64)
    }

    /// The modules that have a tensor of a name, with what peft calls them.
    fn with(&self, suffix: &str) -> Result<Vec<(Module, String)>, FileError> {
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

    fn take(&mut self, name: &str) -> Result<Kept, FileError> {
        let taken = self.tensors.remove(name);
        taken.ok_or_else(|| tensor_error(name, "is missing"))
    }

    /// Floats of a shape.
    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, FileError> {
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
    fn shape(&self, module: &Module) -> [usize; 2] {
        let sites = module
            .weights
            .iter()
            .map(|&id| &self.architecture.sites[id]);
        let rows = sites.clone().map(|site| site.shape[0]).sum();
        let width = sites.map(|site| site.shape.get(1).copied().unwrap_or(1));
        [rows, width.max().unwrap_or(1)]
    }

    fn is_linear(&self, module: &Module) -> bool {
        let mut sites = module
            .weights
            .iter()
            .map(|&id| &self.architecture.sites[id]);
        sites.all(|site| site.linear_layer().is_some())
    }

    /// A low-rank pair's scale.
    fn scale(&self, path: &str, rank: usize) -> Result<f64, FileError> {
        let mut alpha = self.number("lora_alpha");
        // As peft's get_pattern_key: the first pattern that the path ends in.
        if let Some(Value::Object(patterns)) = self.config.get("alpha_pattern") {
            for (pattern, value) in patterns {
                let ends_so = Regex::new(&format!(r"^(.*\.)?({pattern})$"))
                    .map_err(|e| config_error(format!("alpha_pattern: {e}")))?;
                if ends_so.is_match(path) {
                    alpha = value.as_f64();
                    break;
                }
            }
        }
        let supertuning = self.word("peft_type") == Some("SUPERTUNING");
        let alpha = match (alpha, supertuning) {
            (Some(alpha), _) => alpha,
            // SUPERTUNING's default.
            (None, true) => 2.0 * rank as f64,
            (None, false) => {
                return Err(config_error(
                    "lora_alpha: found no number, expected one".into(),
                ));
            }
        };
        let root = self.config.get("use_rslora") == Some(&Value::Bool(true));
        Ok(alpha
            / if root {
                (rank as f64).sqrt()
            } else {
                rank as f64
            })
    }

    fn low_rank(&mut self, a: &str, b: &str, found: &mut Found) -> Result<(), FileError> {
        for (module, path) in self.with(a)? {
            let [outputs, inputs] = self.shape(&module);
            let name = format!("{path}.{a}");
            if !self.is_linear(&module) {
                return Err(tensor_error(&name, "stands at no linear layer of a block"));
            }
            let rank = self
                .tensors
                .get(&name)
                .and_then(|t| t.shape.first().copied());
            let rank = rank.unwrap_or(0);
            let of_a = self.floats(&name, &[rank, inputs])?;
            let of_b = self.floats(&format!("{path}.{b}"), &[outputs, rank])?;
            let scale = self.scale(&path, rank)?;
            let neutral = of_b.iter().all(|&v| v == 0.0);
            for &id in &module.weights {
                let site = &self.architecture.sites[id];
                let rows = rows_of(site);
                // In a part of a fused layer a component may be 0: it belongs to another part.
                let used: Vec<usize> = (0..rank)
                    .filter(|r| neutral || rows.iter().any(|row| of_b[row * rank + r] != 0.0))
                    .collect();
                if used.is_empty() {
                    continue;
                }
                found.recipe.low_rank(id, site, used.len(), scale);
                let a_rows = used.iter().map(|r| &of_a[r * inputs..(r + 1) * inputs]);
                found.values.extend(a_rows.flatten());
                for row in rows {
                    found
                        .values
                        .extend(used.iter().map(|r| of_b[row * rank + r]));
                }
            }
        }
        Ok(())
    }

    fn prompt(&mut self, found: &mut Found) -> Result<(), FileError> {
        let modules = self.number("num_transformer_submodules").unwrap_or(1.0);
        if ![1.0, 2.0].contains(&modules) {
            return Err(config_error(format!(
                "num_transformer_submodules: found {modules}, expected 1 or 2"
            )));
        }
        let place = &self.architecture.insertion_points[INPUT];
        let stored = self.tensors.get("prompt_embeddings");
        let stored = stored.and_then(|t| t.shape.first().copied()).unwrap_or(0);
        let mut values = self.floats("prompt_embeddings", &[stored, place.width])?;
        // Of an encoder-decoder's two halves peft puts the first one before the encoder's
        // input, and uses the second one nowhere (PeftModelForSeq2SeqLM.forward).
        let tokens = stored / modules as usize;
        values.truncate(tokens * place.width);
        found.recipe.prompt(INPUT, place, tokens, 0.0);
        found.values.extend(values);
        Ok(())
    }

    fn scales(&mut self, found: &mut Found) -> Result<(), FileError> {
        // peft tells feed-forward layers by the shape: [1, in] scales what goes in.
        let mut scaled: Vec<(bool, Module, String)> = Vec::new();
        for (module, path) in self.with("ia3_l")? {
            let name = format!("{path}.ia3_l");
            let inputs = self.shape(&module)[1];
            let shape = self.tensors.get(&name).map(|t| &t.shape[..]);
            scaled.push((shape == Some(&[1, inputs]), module, name));
        }
        // Outputs stand before inputs in theta, as the method IA3 has them.
        scaled.sort_by_key(|(is_input, ..)| *is_input);
        for (is_input, module, name) in scaled {
            let [outputs, inputs] = self.shape(&module);
            if !self.is_linear(&module) {
                return Err(tensor_error(&name, "stands at no linear layer of a block"));
            }
            let shape = if is_input { [1, inputs] } else { [outputs, 1] };
            let values = self.floats(&name, &shape)?;
            for &id in &module.weights {
                let site = &self.architecture.sites[id];
                if is_input {
                    found.recipe.scale_input(id, site);
                    found.values.extend(&values);
                } else {
                    let own: Vec<f32> = rows_of(site).into_iter().map(|row| values[row]).collect();
                    // A part of a fused layer whose scales are all 1 is not scaled.
                    if module.weights.len() > 1 && own.iter().all(|&v| v == 1.0) {
                        continue;
                    }
                    found.recipe.scale_output(id, site);
                    found.values.extend(own);
                }
            }
        }
        Ok(())
    }

    fn norms(&mut self, found: &mut Found) -> Result<(), FileError> {
        let infix = ".ln_tuning_layers.";
        let names = self.tensors.keys().filter(|n| n.contains(infix));
        let mut norms: Vec<(SiteId, String)> = Vec::new();
        for name in names {
            let path = name.replace(infix, ".");
            let is_it = |site: &Site| {
                site.part == Part::Norm
                    && self.architecture.bare(&site.tensor) == self.architecture.bare(&path)
            };
            let model = &self.architecture.name;
            let id = self.architecture.sites.iter().position(is_it);
            let id = id.ok_or_else(|| tensor_error(name, format!("{model} has no such norm")))?;
            norms.push((id, name.clone()));
        }
        // In the model's order, as the method LayerNorm has them.
        norms.sort_unstable();
        for (id, name) in norms {
            let site = &self.architecture.sites[id];
            found.recipe.own(id, site);
            let values = self.floats(&name, &site.shape)?;
            found.values.extend(values);
        }
        Ok(())
    }

    fn sparse(
        &mut self,
        (indices, weights): (&str, &str),
        device: &burn::tensor::Device,
        found: &mut Found,
    ) -> Result<(), FileError> {
        for (module, path) in self.with(weights)? {
            let [outputs, inputs] = self.shape(&module);
            let name = format!("{path}.{indices}");
            if !self.is_linear(&module) {
                return Err(tensor_error(&name, "stands at no linear layer of a block"));
            }
            let Some(stored) = self.tensors.remove(&name) else {
                return Err(tensor_error(
                    &name,
                    "is missing: its places are not stored, so they can not be read; save it with save_precomputed_indices",
                ));
            };
            let Numbers::Ints(places) = stored.numbers else {
                return Err(tensor_error(&name, "has floats, expected whole numbers"));
            };
            let count = match stored.shape[..] {
                [2, count] | [count] => count,
                ref other => {
                    return Err(tensor_error(
                        &name,
                        format!("has shape {other:?}, expected [2, n] or [n]"),
                    ));
                }
            };
            let values = self.floats(&format!("{path}.{weights}"), &[count])?;
            let size = (outputs * inputs) as i64;
            let flat: Vec<i64> = match stored.shape.len() {
                1 => places,
                _ => {
                    let (rows, columns) = places.split_at(count);
                    let within = |(&row, &column): (&i64, &i64)| match (0..inputs as i64)
                        .contains(&column)
                    {
                        true => row.saturating_mul(inputs as i64).saturating_add(column),
                        false => -1,
                    };
                    rows.iter().zip(columns).map(within).collect()
                }
            };
            if let Some(wrong) = flat.iter().find(|place| !(0..size).contains(*place)) {
                return Err(tensor_error(
                    &name,
                    format!("has place {wrong}, the layer has {outputs} x {inputs} scalars"),
                ));
            }
            // Values of one place add up, as in a sparse matrix of PyTorch.
            let mut at: BTreeMap<i64, f32> = BTreeMap::new();
            for (place, value) in flat.into_iter().zip(values) {
                *at.entry(place).or_default() += value;
            }
            for &id in &module.weights {
                let site = &self.architecture.sites[id];
                let own = at.iter().filter_map(|(&place, &value)| {
                    let (row, column) = (place as usize / inputs, place as usize % inputs);
                    let row = match site.rows {
                        None => Some(row),
                        Some(rows) => rows.within(row),
                    }?;
                    Some(((row * inputs + column) as u64, value))
                });
                let mut own: Vec<(u64, f32)> = own.collect();
                own.sort_unstable_by_key(|(place, _)| *place);
                if own.is_empty() {
                    continue;
                }
                let (places, values): (Vec<u64>, Vec<f32>) = own.into_iter().unzip();
                found.recipe.sparse(id, site, places, device);
                found.values.extend(values);
            }
        }
        Ok(())
    }

    /// A classifier that was saved beside the adapter.
    fn head(&mut self, found: &mut Found) -> Result<(), FileError> {
        let named =
            |name: &str| ["classifier.weight", "base_model.classifier.weight"].contains(&name);
        let Some(name) = self.tensors.keys().find(|name| named(name)).cloned() else {
            return Ok(());
        };
        let classes = self.tensors[&name].shape.first().copied().unwrap_or(0);
        let width = self.architecture.config.hidden();
        let weight = self.floats(&name, &[classes, width])?;
        let bias = self.floats(&name.replace(".weight", ".bias"), &[classes])?;
        found.recipe.head(classes, width);
        found.values.extend(weight.into_iter().chain(bias));
        Ok(())
    }

    /// Nothing may be left.
    fn finish(self) -> Result<(), FileError> {
        match self.tensors.keys().next() {
            Some(name) => Err(tensor_error(
                name,
                "is no tensor of this kind of adapter, so theta can not hold it",
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
