//! A model with its tokenizer, whatever its family.

use apet_record::{ModelInfo, Module, Pooling};
use burn::{Tensor, tensor::Device};
use serde::Deserialize;

use crate::{Batch, Site, Tap, Tokenizer, bert::Bert};

/// A model that can not be read or run, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct PlmError {
    /// The file.
    pub file: String,
    /// What was found, what was expected, what to do.
    pub problem: String,
}

impl PlmError {
    pub(crate) fn new(file: &str, problem: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            problem: problem.into(),
        }
    }
}

/// The three files of a Hugging Face directory, and how to call them in errors.
#[derive(Clone, Copy, Debug)]
pub struct PlmFiles<'a> {
    /// Name of the model: the directory's.
    pub name: &'a str,
    /// `config.json`.
    pub config: &'a str,
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `model.safetensors`.
    pub weights: &'a [u8],
}

/// A frozen pretrained language model with its tokenizer.
#[derive(Debug)]
pub struct Plm {
    info: ModelInfo,
    sites: Vec<Site>,
    values: Vec<Tensor<1>>,
    bert: Bert,
    tokenizer: Tokenizer,
    device: Device,
}

impl Plm {
    /// Loads a model onto a device.
    ///
    /// # Errors
    /// Names the file and what does not fit; see [`PlmError`].
    pub fn load(files: PlmFiles<'_>, device: &Device) -> Result<Self, PlmError> {
        let config_file = format!("{}/config.json", files.name);
        let family = family(&config_file, files.config)?;
        let (bert, sites, values) = match family.as_str() {
            "bert" => Bert::load(&files, device)?,
            other => {
                return Err(PlmError::new(
                    &config_file,
                    format!("\"model_type\": \"{other}\" is not supported (bert)"),
                ));
            }
        };
        let tokenizer = Tokenizer::read(
            &format!("{}/tokenizer.json", files.name),
            files.tokenizer,
            bert.vocabulary(),
        )?;
        let count = |keep: &dyn Fn(&Site) -> bool| -> u64 {
            sites
                .iter()
                .filter(|s| keep(s))
                .map(|s| s.len() as u64)
                .sum()
        };
        let info = ModelInfo {
            name: files.name.to_owned(),
            family,
            layers: bert.layers(),
            hidden: bert.hidden(),
            parameters: count(&|_| true),
            parameters_without_embeddings: count(&|s| s.module != Module::Embedding),
            weights_hash: blake3::hash(files.weights).to_hex().to_string(),
            extra: Default::default(),
        };
        Ok(Self {
            info,
            sites,
            values,
            bert,
            tokenizer,
            device: device.clone(),
        })
    }

    /// Name, family, sizes.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Every tensor of the model, in the order of the forward pass. A site's number is its place here.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The frozen value of a site, flattened in row-major order.
    pub fn value(&self, site: crate::SiteId) -> Tensor<1> {
        self.values[site].clone()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Where the weights lie; never an autodiff device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Longest sequence the model has positions for.
    pub fn max_length(&self) -> usize {
        self.bert.max_length()
    }

    /// Whether the checkpoint has what this pooling needs.
    pub fn can_pool(&self, pooling: Pooling) -> bool {
        pooling != Pooling::Pooler || self.bert.has_pooler()
    }

    /// Hidden states: after the embeddings and after each block, each
    /// `[batch, length, hidden]`. The last one is the model's output.
    pub fn hidden_states(&self, batch: &Batch, tap: &dyn Tap) -> Vec<Tensor<3>> {
        self.bert.hidden_states(batch, tap)
    }

    /// One vector a sequence, `[batch, hidden]`.
    pub fn pool(
        &self,
        batch: &Batch,
        last: Tensor<3>,
        pooling: Pooling,
        tap: &dyn Tap,
    ) -> Tensor<2> {
        let [rows, length, hidden] = last.dims();
        let first = |last: Tensor<3>| last.slice([0..rows, 0..1]).reshape([rows, hidden]);
        match pooling {
            Pooling::First => first(last),
            Pooling::Pooler => self.bert.pooler(first(last), tap),
            Pooling::Mean => {
                let weights = batch.mean_weights().reshape([rows, 1, length]);
                weights.matmul(last).reshape([rows, hidden])
            }
        }
    }
}

fn family(file: &str, config: &str) -> Result<String, PlmError> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
    }
    let kind: Kind = serde_json::from_str(config)
        .map_err(|e| PlmError::new(file, format!("{e}, expected a JSON object")))?;
    kind.model_type
        .ok_or_else(|| PlmError::new(file, "no field \"model_type\", expected \"bert\""))
}
