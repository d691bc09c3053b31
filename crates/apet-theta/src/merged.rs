//! The checkpoint of a tuned model: theta is worked into its tensors.

use std::collections::BTreeMap;

use apet_plm::{Dtype, Plm, Rows, TensorInfo, Weights, floats};
use apet_record::{Objective, Pooling};

use crate::{error::FileError, theta::Theta};

/// A tensor's shape and numbers.
type Tensor = (Vec<usize>, Vec<f32>);

/// A checkpoint with theta worked in: what theta does not change is the source's own bytes,
/// what it changes is f32.
pub struct Merged {
    base: Box<dyn Weights>,
    names: Vec<String>,
    /// Tensors that differ, and those that are new.
    changed: BTreeMap<String, Tensor>,
    /// What the source calls a tensor of a name.
    own_names: BTreeMap<String, String>,
    /// The head's file, where no class of transformers has it.
    head: Option<Vec<u8>>,
    /// Classes, where transformers' class for sequence classification has the head.
    classes: Option<(&'static str, usize)>,
}

impl Merged {
    /// Works theta with `values` into the checkpoint `base` that `plm` was loaded from.
    ///
    /// # Errors
    /// Names what no tensor of the model can hold, or what cannot be read.
    pub async fn new(
        base: Box<dyn Weights>,
        theta: &Theta,
        plm: &Plm,
        values: &[f32],
        (objective, pooling): (Objective, Pooling),
    ) -> Result<Self, FileError> {
        let architecture = plm.architecture();
        let mut changed: BTreeMap<String, Tensor> = BTreeMap::new();
        for (id, values) in theta.merged(plm, values).await? {
            let site = &plm.sites()[id];
            let name = &site.tensor;
            let missing = || FileError(format!("{}: {name} is missing", base.file()));
            let info = base.info(name).ok_or_else(missing)?;
            let tensor = match site.rows {
                None => values,
                // A part of a fused tensor: the other rows stay.
                Some(rows) => {
                    let whole = match changed.remove(name) {
                        Some((_, whole)) => whole,
                        None => read(&*base, name, &info)?,
                    };
                    place(rows, whole, &values, info.shape[0])
                }
            };
            changed.insert(name.clone(), (info.shape, tensor));
        }
        let mut head = theta.head_file(values)?;
        let mut own_names: BTreeMap<String, String> = base
            .names()
            .into_iter()
            .map(|name| (name.to_owned(), name.to_owned()))
            .collect();
        let mut classes = None;
        if objective == Objective::ClassHead
            && let Some(own) = architecture.classifier(pooling)
            && let Some((count, weight, bias)) = theta.head(values)
        {
            // A class with a head has its base model's tensors under a prefix, and no other head.
            let prefixed =
                |name: &str| format!("{}{}", architecture.prefix(), architecture.bare(name));
            let other = |name: &str| own.other_heads.iter().any(|head| name.starts_with(head));
            own_names.retain(|name, _| !other(name));
            own_names = own_names
                .into_iter()
                .map(|(name, own)| (prefixed(&name), own))
                .collect();
            changed = changed
                .into_iter()
                .map(|(name, tensor)| (prefixed(&name), tensor))
                .collect();
            let shape = vec![count, architecture.config.hidden()];
            let name = |part: &str| format!("{}.{part}", own.layer);
            changed.insert(name("weight"), (shape, weight));
            changed.insert(name("bias"), (vec![count], bias));
            (classes, head) = (Some((own.class, count)), None);
        }
        let mut names: Vec<String> = own_names.keys().chain(changed.keys()).cloned().collect();
        names.sort();
        names.dedup();
        Ok(Self {
            base,
            names,
            changed,
            own_names,
            head,
            classes,
        })
    }

    /// Whether it is a model for sequence classification, with its classifier.
    pub fn classifies(&self) -> bool {
        self.classes.is_some()
    }

    /// The config.json of the tuned model from that of its source; `labels` name the classes.
    ///
    /// # Errors
    /// When the source's is no JSON.
    pub fn config(&self, source: &[u8], labels: Option<&[String]>) -> Result<Vec<u8>, FileError> {
        let wrong = |e: serde_json::Error| FileError(format!("config.json: {e}"));
        let mut config: serde_json::Value = serde_json::from_slice(source).map_err(wrong)?;
        if let Some((class, classes)) = self.classes {
            let label = |n: usize| {
                let named = labels.and_then(|labels| labels.get(n)).cloned();
                named.unwrap_or_else(|| format!("LABEL_{n}"))
            };
            config["architectures"] = serde_json::json!([class]);
            let by_number = (0..classes).map(|n| (n.to_string(), label(n).into()));
            config["id2label"] = by_number.collect::<serde_json::Map<_, _>>().into();
            let by_name = (0..classes).map(|n| (label(n), n.into()));
            config["label2id"] = by_name.collect::<serde_json::Map<_, _>>().into();
        }
        // A reader that keeps the source's type would round what changed.
        if let Some(fields) = config.as_object_mut() {
            fields.remove("torch_dtype");
            fields.insert("dtype".into(), "float32".into());
        }
        serde_json::to_vec_pretty(&config).map_err(wrong)
    }

    /// A head that no class of transformers has, as a safetensors file: `weight`
    /// `[classes, hidden]` and `bias` `[classes]`.
    pub fn head(&self) -> Option<&[u8]> {
        self.head.as_deref()
    }
}

impl Weights for Merged {
    fn file(&self) -> &str {
        self.base.file()
    }

    fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        match self.changed.get(name) {
            Some((shape, _)) => Some(TensorInfo {
                dtype: Ok(Dtype::F32),
                shape: shape.clone(),
            }),
            None => self.base.info(self.own_names.get(name)?),
        }
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String> {
        match self.changed.get(name) {
            Some((_, values)) => {
                let (skipped, within) = (offset as usize / 4, offset as usize % 4);
                let bytes = values.iter().skip(skipped).flat_map(|v| v.to_le_bytes());
                let bytes = bytes.skip(within);
                into.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                Ok(())
            }
            None => {
                let own = self.own_names.get(name);
                let own = own.ok_or_else(|| format!("{name} is missing"))?;
                self.base.read(own, offset, into)
            }
        }
    }
}

/// Puts a part's rows into a fused tensor of `height` rows.
fn place(rows: Rows, mut whole: Vec<f32>, part: &[f32], height: usize) -> Vec<f32> {
    let width = whole.len() / height;
    for (row, values) in part.chunks_exact(width).enumerate() {
        let at = rows.of(row) * width;
        whole[at..at + width].copy_from_slice(values);
    }
    whole
}

/// A tensor of a checkpoint in f32.
fn read(base: &dyn Weights, name: &str, info: &TensorInfo) -> Result<Vec<f32>, FileError> {
    let dtype = info
        .dtype
        .clone()
        .map_err(|other| FileError(format!("{name} has type {other}")))?;
    let mut bytes = vec![0; info.shape.iter().product::<usize>() * dtype.size()];
    base.read(name, 0, &mut bytes).map_err(FileError)?;
    Ok(floats(dtype, &bytes))
}
