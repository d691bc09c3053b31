//! From theta to peft's files.

use std::collections::{BTreeMap, HashMap};

use apet_plm::{Kind, ModelArchitecture, Plm, Site, SiteId};
use apet_record::{Objective, Part, Pooling};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use super::{Module, WRAPPED, modules, rows_of};
use crate::{
    file::FileError,
    merge::read,
    theta::Theta,
    weight::{AttachPoint, Structure, Weight},
};

/// An adapter as peft saves it.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// `LORA`, `IA3`, ...
    pub peft_type: &'static str,
    /// The class of model it belongs to: `CAUSAL_LM`, ...
    pub task_type: &'static str,
    /// `adapter_config.json`.
    pub config: String,
    /// `adapter_model.safetensors`.
    pub weights: Vec<u8>,
    /// A head that no class of transformers has: a safetensors file with `weight` and `bias`.
    pub head: Option<Vec<u8>>,
    /// What a reader should know: how many values stand at places that are not tuned.
    pub note: String,
}

/// Tensors and settings of a kind of adapter.
struct Written {
    peft_type: &'static str,
    /// The modules that are changed, by path.
    targets: Vec<String>,
    /// More fields of the config.
    fields: Value,
    tensors: Vec<(String, Vec<usize>, Data)>,
    note: String,
}

enum Data {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

/// A module that theta changes, with the weights at each of its sites.
type Changed<'a> = (Module, Vec<(SiteId, Vec<&'a Weight>)>);

/// A layer's path, its rank, its alpha.
type Size = (String, usize, f64);

/// theta's weights but the head, with their values.
struct Parts<'a> {
    theta: &'a Theta,
    architecture: &'a ModelArchitecture,
    values: &'a [f32],
    /// What stands before a module's path in the model class.
    prefix: &'static str,
}

impl Theta {
    /// Writes theta with `values` as an adapter of peft for the model called `base`: a
    /// repository or a directory.
    ///
    /// # Errors
    /// Names what of theta peft can not hold, and what to do instead; or the device fails.
    pub async fn to_peft(
        &self,
        plm: &Plm,
        base: &str,
        values: &[f32],
        (objective, pooling): (Objective, Pooling),
    ) -> Result<Adapter, FileError> {
        let architecture = plm.architecture();
        let classifier = architecture.classifier(pooling);
        let task_type = match (objective, architecture.kind()) {
            (Objective::LabelWords, Kind::EncoderDecoder) => "SEQ_2_SEQ_LM",
            (Objective::LabelWords, _) => "CAUSAL_LM",
            (Objective::ClassHead, _) if classifier.is_some() => "SEQ_CLS",
            (Objective::ClassHead, _) => "FEATURE_EXTRACTION",
        };
        let prefix = match task_type {
            "FEATURE_EXTRACTION" => "",
            _ => architecture.prefix(),
        };
        let parts = Parts {
            theta: self,
            architecture,
            values,
            prefix,
        };
        let written = parts.write(plm).await?;
        let (mut tensors, mut saved) = (written.tensors, Value::Null);
        let mut beside = None;
        if let Some((classes, weight, bias)) = self.head(values) {
            let width = architecture.config.hidden();
            if let ("SEQ_CLS", Some(classifier)) = (task_type, classifier) {
                let layer = classifier.layer;
                let wrapped = match written.peft_type {
                    "PROMPT_TUNING" => "base_model.",
                    _ => WRAPPED,
                };
                let name = |part: &str| format!("{wrapped}{layer}.{part}");
                tensors.push((name("weight"), vec![classes, width], Data::Floats(weight)));
                tensors.push((name("bias"), vec![classes], Data::Floats(bias)));
                saved = json!([layer, "score"]);
            } else {
                beside = self.head_file(values)?;
            }
        }
        let mut config = json!({
            "peft_type": written.peft_type,
            "task_type": task_type,
            "base_model_name_or_path": base,
            "inference_mode": true,
        });
        if let Value::Object(fields) = written.fields {
            for (name, value) in fields {
                config[name] = value;
            }
        }
        if written.peft_type != "PROMPT_TUNING" {
            config["target_modules"] = json!(written.targets);
            config["modules_to_save"] = saved;
        }
        let config = serde_json::to_string_pretty(&config).map_err(|e| FileError(e.to_string()))?;
        Ok(Adapter {
            peft_type: written.peft_type,
            task_type,
            config: config + "\n",
            weights: file(tensors)?,
            head: beside,
            note: written.note,
        })
    }
}

impl Parts<'_> {
    fn of(&self, weight: &Weight) -> &[f32] {
        &self.values[weight.offset..weight.offset + weight.len()]
    }

    fn site(&self, id: SiteId) -> &Site {
        &self.architecture.sites[id]
    }

    /// The one kind of adapter that holds all of theta.
    async fn write(&self, plm: &Plm) -> Result<Written, FileError> {
        let mut kinds: Vec<&'static str> = Vec::new();
        for weight in self.theta.weights().iter().filter(|w| !w.is_head()) {
            let kind = self.kind(weight)?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        match kinds[..] {
            [] => Err(FileError(
                "theta tunes nothing but the head, which is no adapter; export it as apet".into(),
            )),
            ["LORA"] => self.low_rank(),
            ["PROMPT_TUNING"] => self.prompt(),
            ["IA3"] => self.scales(),
            ["LN_TUNING"] => self.norms(plm).await,
            ["SHIRA"] => self.sparse(),
            _ => Err(FileError(format!(
                "theta has parts that are {}, an adapter of peft is one of them; export it as merged or apet",
                kinds.join(" and ")
            ))),
        }
    }

    /// The kind of adapter that can hold a weight.
    fn kind(&self, weight: &Weight) -> Result<&'static str, FileError> {
        let refuse = |why: &str| {
            Err(FileError(format!(
                "{}: {why}; export it as merged or apet",
                weight.name
            )))
        };
        if weight.name.contains('#') {
            return refuse("is the second change of one place, an adapter of peft has one");
        }
        let site = weight.site().map(|id| self.site(id));
        match (&weight.structure, site) {
            (Structure::Prompt, _) => Ok("PROMPT_TUNING"),
            (Structure::Adapter(_), _) => Err(FileError(format!(
                "{}: is a bottleneck adapter, which peft does not have; export it as apet",
                weight.name
            ))),
            (Structure::Bias, _) => Err(FileError(format!(
                "{}: is a bias of a layer that has none, which peft can not add; export it as apet",
                weight.name
            ))),
            (Structure::LowRankA | Structure::LowRankB { .. }, _) => Ok("LORA"),
            (Structure::LowRankScalars { .. }, _) => Ok("LORA"),
            (Structure::ScaleInput | Structure::ScaleOutput, _) => Ok("IA3"),
            (Structure::Owned, Some(site)) if site.part == Part::Norm => Ok("LN_TUNING"),
            (Structure::Owned, _) => refuse("is a whole tensor, which peft holds of norms only"),
            (Structure::Sparse { .. }, Some(site)) if site.linear_layer().is_none() => {
                let what = match site.module {
                    apet_record::Module::Bias => "a bias",
                    apet_record::Module::Norm => "a norm",
                    _ if site.part == Part::Embedding => "an embedding, tied or not",
                    _ => "no linear layer of a block",
                };
                refuse(&format!(
                    "is a delta on {what}, peft's SHIRA holds linear weights only"
                ))
            }
            (Structure::Sparse { .. }, _) => Ok("SHIRA"),
            (Structure::HeadWeight | Structure::HeadBias, _) => Ok(""),
        }
    }

    /// The modules that theta changes, each with the weights at each of its sites.
    fn changed(&self) -> Vec<Changed<'_>> {
        let at = |id: SiteId| -> Vec<&Weight> {
            let weights = self.theta.weights().iter();
            weights.filter(|w| w.at == AttachPoint::Site(id)).collect()
        };
        modules(self.architecture)
            .into_iter()
            .filter_map(|module| {
                let parts: Vec<_> = module.weights.iter().map(|&id| (id, at(id))).collect();
                let any = parts.iter().any(|(_, weights)| !weights.is_empty());
                any.then_some((module, parts))
            })
            .collect()
    }

    fn path(&self, module: &Module) -> String {
        format!("{}{}", self.prefix, module.path)
    }

    /// Rows of a module's whole weight.
    fn rows(&self, module: &Module) -> usize {
        module
            .weights
            .iter()
            .map(|&id| self.site(id).shape[0])
            .sum()
    }

    /// A low-rank pair at a site: A `[rank, in]`, B `[out, rank]`, scale.
    fn pair(&self, weights: &[&Weight]) -> Option<(Vec<f32>, Vec<f32>, usize, f64)> {
        match weights {
            [a, b] => match b.structure {
                Structure::LowRankB { scale } => {
                    Some((self.of(a).to_vec(), self.of(b).to_vec(), a.shape[0], scale))
                }
                _ => None,
            },
            [scalars] => match scalars.structure {
                Structure::LowRankScalars { rank, scale, .. } => {
                    let weights = self.theta.weights();
                    let number = weights.iter().position(|w| w.name == scalars.name)?;
                    let (a, b) = self.theta.factors(number, self.of(scalars))?;
                    Some((a, b, rank, scale))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn low_rank(&self) -> Result<Written, FileError> {
        let (mut targets, mut tensors) = (Vec::new(), Vec::new());
        let mut sizes: Vec<Size> = Vec::new();
        for (module, parts) in self.changed() {
            let path = self.path(&module);
            let pairs: Vec<_> = parts
                .iter()
                .filter_map(|(id, weights)| {
                    let site = self.site(*id);
                    Some((site, self.pair(weights)?))
                })
                .collect();
            let (outputs, inputs) = (self.rows(&module), pairs[0].0.shape[1]);
            let rank: usize = pairs.iter().map(|(_, pair)| pair.2).sum();
            let scale = pairs[0].1.3;
            if pairs.iter().any(|(_, pair)| pair.3 != scale) {
                return Err(FileError(format!(
                    "{path}: its parts have deltas of different scales, LORA has one a layer; export it as merged or apet"
                )));
            }
            // Parts of a fused layer one below another, each with blocks of 0 beside its own.
            let (mut a, mut b) = (Vec::new(), vec![0.0; outputs * rank]);
            let mut first = 0;
            for (site, (own_a, own_b, own_rank, _)) in &pairs {
                a.extend_from_slice(own_a);
                for (row, own) in rows_of(site).into_iter().zip(own_b.chunks_exact(*own_rank)) {
                    b[row * rank + first..row * rank + first + own_rank].copy_from_slice(own);
                }
                first += own_rank;
            }
            let name = |part: &str| format!("{WRAPPED}{path}.{part}.weight");
            tensors.push((name("lora_A"), vec![rank, inputs], Data::Floats(a)));
            tensors.push((name("lora_B"), vec![outputs, rank], Data::Floats(b)));
            sizes.push((path.clone(), rank, scale * rank as f64));
            targets.push(path);
        }
        let (_, rank, alpha) = sizes[0].clone();
        let pattern = |differs: &dyn Fn(&Size) -> Option<Value>| -> Value {
            let own = sizes
                .iter()
                .filter_map(|size| Some((regex_lite::escape(&size.0), differs(size)?)));
            own.collect::<serde_json::Map<_, _>>().into()
        };
        let ranks = pattern(&|&(_, own, _)| (own != rank).then(|| json!(own)));
        let alphas = pattern(&|&(_, _, own)| (own != alpha).then(|| json!(own)));
        Ok(Written {
            peft_type: "LORA",
            targets,
            fields: json!({
                "r": rank,
                "lora_alpha": alpha,
                "lora_dropout": 0.0,
                "bias": "none",
                "fan_in_fan_out": false,
                "init_lora_weights": true,
                "rank_pattern": ranks,
                "alpha_pattern": alphas,
            }),
            tensors,
            note: String::new(),
        })
    }

    fn prompt(&self) -> Result<Written, FileError> {
        let weights = self.theta.weights().iter();
        let prompt: Vec<&Weight> = weights.filter(|w| !w.is_head()).collect();
        let [prompt] = prompt[..] else {
            return Err(FileError("found two prompts, PROMPT_TUNING has one".into()));
        };
        let shape = prompt.shape.clone();
        Ok(Written {
            peft_type: "PROMPT_TUNING",
            targets: Vec::new(),
            fields: json!({
                "num_virtual_tokens": shape[0],
                "token_dim": shape[1],
                "num_transformer_submodules": 1,
                "num_layers": self.architecture.config.layers(),
                "prompt_tuning_init": "RANDOM",
            }),
            tensors: vec![(
                "prompt_embeddings".into(),
                shape,
                Data::Floats(self.of(prompt).to_vec()),
            )],
            note: String::new(),
        })
    }

    fn scales(&self) -> Result<Written, FileError> {
        let (mut targets, mut inner, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
        for (module, parts) in self.changed() {
            let path = self.path(&module);
            let name = format!("{WRAPPED}{path}.ia3_l");
            let weights: Vec<&Weight> = parts.iter().flat_map(|(_, w)| w.clone()).collect();
            let inputs = |w: &&Weight| matches!(w.structure, Structure::ScaleInput);
            if weights.iter().any(inputs) {
                let [only] = weights[..] else {
                    return Err(FileError(format!(
                        "{path}: is scaled in more than one way, IA3 scales a layer's output or its input; export it as merged or apet"
                    )));
                };
                if module.weights.len() > 1 {
                    return Err(FileError(format!(
                        "{path}: one part of a fused layer has a scaled input, IA3 scales all of them; export it as merged or apet"
                    )));
                }
                let shape = vec![1, only.len()];
                tensors.push((name, shape, Data::Floats(self.of(only).to_vec())));
                inner.push(path.clone());
            } else {
                // Parts of a fused layer that are not scaled keep 1.
                let mut whole = vec![1.0; self.rows(&module)];
                for (id, weights) in &parts {
                    for weight in weights {
                        for (row, value) in rows_of(self.site(*id)).into_iter().zip(self.of(weight))
                        {
                            whole[row] = *value;
                        }
                    }
                }
                tensors.push((name, vec![whole.len(), 1], Data::Floats(whole)));
            }
            targets.push(path);
        }
        Ok(Written {
            peft_type: "IA3",
            targets,
            fields: json!({
                "feedforward_modules": inner,
                "fan_in_fan_out": false,
                "init_ia3_weights": true,
            }),
            tensors,
            note: String::new(),
        })
    }

    async fn norms(&self, plm: &Plm) -> Result<Written, FileError> {
        let (mut targets, mut tensors) = (Vec::new(), Vec::new());
        let tuned = |id: SiteId| {
            let weights = self.theta.weights().iter();
            weights.clone().find(|w| w.at == AttachPoint::Site(id))
        };
        let norms: Vec<(SiteId, &Site)> = self
            .architecture
            .sites
            .iter()
            .enumerate()
            .filter(|(_, site)| site.part == Part::Norm)
            .collect();
        // A norm is tuned as a whole there: what is not in theta keeps its frozen values.
        let path_of = |site: &Site| {
            let tensor = site.tensor.trim_end_matches(".weight");
            let bare = self.architecture.bare(tensor.trim_end_matches(".bias"));
            format!("{}{bare}", self.prefix)
        };
        // The scale of a norm and its bias stand side by side.
        for sites in norms.chunk_by(|(_, a), (_, b)| path_of(a) == path_of(b)) {
            let path = path_of(sites[0].1);
            if sites.iter().all(|(id, _)| tuned(*id).is_none()) {
                continue;
            }
            for &(id, site) in sites {
                let values = match tuned(id) {
                    Some(weight) => self.of(weight).to_vec(),
                    None => read(plm.value(id)).await?,
                };
                let part = if site.is_bias() { "bias" } else { "weight" };
                let name = format!("{WRAPPED}{path}.ln_tuning_layers.{part}");
                tensors.push((name, site.shape.clone(), Data::Floats(values)));
            }
            targets.push(path);
        }
        Ok(Written {
            peft_type: "LN_TUNING",
            targets,
            fields: json!({}),
            tensors,
            note: String::new(),
        })
    }

    fn sparse(&self) -> Result<Written, FileError> {
        // Every layer gets as many values as LoRA of one rank would have there.
        let mut layers = Vec::new();
        let (mut rank, mut values) = (0, 0);
        for (module, parts) in self.changed() {
            let width = self.site(parts[0].0).shape[1];
            let mut at: BTreeMap<u64, f32> = BTreeMap::new();
            for (id, weights) in &parts {
                let rows = rows_of(self.site(*id));
                for weight in weights {
                    let Structure::Sparse { positions, .. } = &weight.structure else {
                        continue;
                    };
                    for (&position, value) in positions.iter().zip(self.of(weight)) {
                        let (row, column) = (position as usize / width, position as usize % width);
                        at.insert((rows[row] * width + column) as u64, *value);
                    }
                }
            }
            values += at.len();
            let rows = self.rows(&module);
            rank = rank.max(at.len().div_ceil(rows + width));
            layers.push((self.path(&module), rows, width, at));
        }
        let (mut targets, mut tensors, mut padded) = (Vec::new(), Vec::new(), 0);
        for (path, rows, width, mut at) in layers {
            let count = rank * (rows + width);
            if count > rows * width {
                return Err(FileError(format!(
                    "{path}: SHIRA of rank {rank} has {count} values a layer, this one has {} scalars; export it as merged or apet",
                    rows * width
                )));
            }
            let free = (0..(rows * width) as u64).filter(|place| !at.contains_key(place));
            let free: Vec<u64> = free.take(count - at.len()).collect();
            at.extend(free.into_iter().map(|place| (place, 0.0)));
            padded += count;
            let places = at.keys().map(|&place| place as usize);
            let row = places.clone().map(|place| (place / width) as i32);
            let indices = row.chain(places.map(|place| (place % width) as i32));
            let name = |part: &str| format!("{WRAPPED}{path}.{part}");
            let indices = Data::Ints(indices.collect());
            tensors.push((name("shira_indices"), vec![2, count], indices));
            let values = Data::Floats(at.into_values().collect());
            tensors.push((name("shira_weight"), vec![count], values));
            targets.push(path);
        }
        Ok(Written {
            peft_type: "SHIRA",
            targets,
            fields: json!({
                "r": rank,
                "mask_type": "random",
                "random_seed": 0,
                "fan_in_fan_out": false,
                "init_weights": true,
            }),
            tensors,
            note: format!(
                "SHIRA keeps the same rank in every layer: {values} tuned values are stored as {padded}, the others are 0 at places that are not tuned."
            ),
        })
    }
}

fn file(tensors: Vec<(String, Vec<usize>, Data)>) -> Result<Vec<u8>, FileError> {
    let wrong = |e: safetensors::SafeTensorError| FileError(e.to_string());
    let bytes: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, data)| match data {
            Data::Floats(v) => {
                let bytes = v.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, shape, Dtype::F32, bytes)
            }
            Data::Ints(v) => {
                let bytes = v.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, shape, Dtype::I32, bytes)
            }
        })
        .collect();
    let mut views = Vec::new();
    for (name, shape, dtype, data) in &bytes {
        let view = TensorView::new(*dtype, shape.clone(), data).map_err(wrong)?;
        views.push((name, view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(wrong)
}
