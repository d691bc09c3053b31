//! A model with its tokenizer, whatever its family.

use std::fmt::Debug;

use apet_record::{ModelInfo, Module, Pooling};
use burn::{Tensor, tensor::Device};
use serde::Deserialize;

use crate::{
    Batch, Cache, Encoded, Padding, Site, SiteId, Tap, Tokenizer, bert,
    bert::Bert,
    bloom,
    bloom::Bloom,
    config,
    llama::Llama,
    loader::{Loaded, Loader},
    mpnet,
    mpnet::Mpnet,
    source::{Number, Weights},
    t5::T5,
};

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

/// The files of a Hugging Face directory, and how to call them in errors.
#[derive(Clone, Copy)]
pub struct PlmFiles<'a> {
    /// Name of the model: the directory's.
    pub name: &'a str,
    /// `config.json`.
    pub config: &'a str,
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// The checkpoint.
    pub weights: &'a dyn Weights,
}

/// A network that sees whole sequences.
pub(crate) trait Encoder: Debug {
    /// States of every token, `[rows * length, hidden]`. `see` gets them after the
    /// embeddings and after each block, the last ones too.
    fn forward(&self, batch: &Batch, tap: &dyn Tap, see: &mut dyn FnMut(&Tensor<2>)) -> Tensor<2>;

    /// Whether there is a pooler of its own.
    fn has_pooler(&self) -> bool {
        false
    }

    /// Its pooler over the first token's state, `[rows, hidden]`.
    fn pooler(&self, first: Tensor<2>, _tap: &dyn Tap) -> Tensor<2> {
        first
    }
}

/// A network in which a token sees what is before it.
pub(crate) trait Decoder: Debug {
    /// States of every token, `[rows * length, hidden]`. `see` gets what goes into each
    /// block, and the last ones, as transformers' `hidden_states`. With a cache, `batch`
    /// stands behind the tokens that the cache has seen.
    fn forward(
        &self,
        batch: &Batch,
        cache: Option<&mut Cache>,
        tap: &dyn Tap,
        see: &mut dyn FnMut(&Tensor<2>),
    ) -> Tensor<2>;

    /// Scores of every token of the vocabulary: `[tokens, hidden]` to `[tokens, vocabulary]`.
    fn logits(&self, x: Tensor<2>, tap: &dyn Tap) -> Tensor<2>;
}

/// What a model is made of.
#[derive(Debug)]
pub(crate) enum Network {
    Encoder(Box<dyn Encoder>),
    Decoder(Box<dyn Decoder>),
    EncoderDecoder(Box<T5>),
}

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a text: classification.
    Encoder,
    /// Goes on with a text.
    Decoder,
    /// Reads a text and writes another.
    EncoderDecoder,
}

/// A frozen pretrained language model with its tokenizer.
#[derive(Debug)]
pub struct Plm {
    info: ModelInfo,
    sites: Vec<Site>,
    values: Vec<Tensor<1>>,
    pub(crate) network: Network,
    tokenizer: Tokenizer,
    pub(crate) pad: u32,
    /// Tokens that end a generated text.
    ends: Vec<u32>,
    max_length: usize,
    device: Device,
}

/// The fields of config.json that every family may have.
#[derive(Deserialize)]
struct Common {
    #[serde(default)]
    vocab_size: usize,
    #[serde(alias = "n_embed", alias = "d_model", default)]
    hidden_size: usize,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    eos_token_id: Ends,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Ends {
    One(u32),
    Several(Vec<u32>),
    #[default]
    None,
}

impl Plm {
    /// Loads a model onto a device, its matrices as `number`s.
    ///
    /// # Errors
    /// Names the file and what does not fit; see [`PlmError`].
    pub fn load(files: PlmFiles<'_>, number: Number, device: &Device) -> Result<Self, PlmError> {
        let file = format!("{}/config.json", files.name);
        let (file, text) = (file.as_str(), files.config);
        let family = family(file, text)?;
        let l = Loader::new(files.weights, device, number);
        let (network, layers, max_length, loaded) = network(file, text, &family, l)?;
        let common: Common = config::read(file, text)?;
        let tokenizer = tokenizer(&files, &common)?;
        let count = |keep: &dyn Fn(&Site) -> bool| -> u64 {
            let kept = loaded.sites.iter().filter(|s| keep(s));
            kept.map(|s| s.len() as u64).sum()
        };
        let info = ModelInfo {
            name: files.name.to_owned(),
            family,
            layers,
            hidden: common.hidden_size,
            parameters: count(&|_| true),
            parameters_without_embeddings: count(&|s| s.module != Module::Embedding),
            weights_hash: loaded.hash,
            extra: Default::default(),
        };
        Ok(Self {
            info,
            sites: loaded.sites,
            values: loaded.values,
            network,
            // Padding is masked: any token does.
            pad: common.pad_token_id.or(tokenizer.pad()).unwrap_or(0),
            ends: match common.eos_token_id {
                Ends::One(id) => vec![id],
                Ends::Several(ids) => ids,
                Ends::None => Vec::new(),
            },
            tokenizer,
            max_length,
            device: device.clone(),
        })
    }

    /// Checks all that loading would, and reads no tensor's numbers: config.json, the
    /// tokenizer, and every name, shape and type. Gives the sites that loading would.
    ///
    /// # Errors
    /// As [`Plm::load`].
    pub fn check(files: PlmFiles<'_>) -> Result<Vec<Site>, PlmError> {
        let file = format!("{}/config.json", files.name);
        let family = family(&file, files.config)?;
        let device = Device::flex(); // nothing is put there
        let l = Loader::check(files.weights, &device, Number::F32);
        let (.., loaded) = network(&file, files.config, &family, l)?;
        tokenizer(&files, &config::read(&file, files.config)?)?;
        Ok(loaded.sites)
    }

    /// Name, family, sizes.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What it can do.
    pub fn kind(&self) -> Kind {
        match self.network {
            Network::Encoder(_) => Kind::Encoder,
            Network::Decoder(_) => Kind::Decoder,
            Network::EncoderDecoder(_) => Kind::EncoderDecoder,
        }
    }

    /// Every tensor of the model, in the order of the forward pass. A site's number is its place here.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The frozen value of a site, flattened in row-major order.
    pub fn value(&self, site: SiteId) -> Tensor<1> {
        self.values[site].clone()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens that end a generated text.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Where the weights lie; never an autodiff device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Longest sequence the model has positions for; as good as endless for relative positions.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Whether a classification with this pooling uses a site at all: not the head of a
    /// language model, not the decoder of T5, and the pooler only where it is asked for.
    pub fn in_classification(&self, site: &Site, pooling: Pooling) -> bool {
        let is_encoder = match self.network {
            Network::EncoderDecoder(_) => !site.tensor.starts_with("decoder."),
            _ => true,
        };
        is_encoder
            && site.module != Module::LmHead
            && (site.module != Module::Pooler || pooling == Pooling::Pooler)
    }

    /// Whether a classification head can stand on this pooling.
    pub fn can_pool(&self, pooling: Pooling) -> bool {
        match (&self.network, pooling) {
            (Network::Encoder(encoder), Pooling::Pooler) => encoder.has_pooler(),
            (_, Pooling::Pooler) => false,
            // A decoder's first token sees no other.
            (Network::Decoder(_), Pooling::First) => false,
            _ => true,
        }
    }

    /// Sequences padded on the side that this model wants.
    pub fn batch(&self, sequences: &[&Encoded]) -> Batch {
        let padding = match self.network {
            Network::Decoder(_) => Padding::Left,
            _ => Padding::Right,
        };
        Batch::new(sequences, self.pad, padding, &self.device)
    }

    /// The model's states for a batch, `[rows, length, hidden]`: the encoder's of T5.
    pub fn states(&self, batch: &Batch, tap: &dyn Tap) -> Tensor<3> {
        let x = self.forward(batch, tap, &mut |_| {});
        three(x, batch)
    }

    /// All states as transformers' `hidden_states`, each `[rows, length, hidden]`; the last
    /// one is the model's output.
    pub fn hidden_states(&self, batch: &Batch, tap: &dyn Tap) -> Vec<Tensor<3>> {
        let mut states = Vec::new();
        self.forward(batch, tap, &mut |x| states.push(three(x.clone(), batch)));
        states
    }

    fn forward(&self, batch: &Batch, tap: &dyn Tap, see: &mut dyn FnMut(&Tensor<2>)) -> Tensor<2> {
        match &self.network {
            Network::Encoder(encoder) => encoder.forward(batch, tap, see),
            Network::Decoder(decoder) => decoder.forward(batch, None, tap, see),
            Network::EncoderDecoder(t5) => t5.encode(batch, tap, see),
        }
    }

    /// One vector a sequence, `[rows, hidden]`.
    pub fn pool(
        &self,
        batch: &Batch,
        last: Tensor<3>,
        pooling: Pooling,
        tap: &dyn Tap,
    ) -> Tensor<2> {
        let [rows, length, hidden] = last.dims();
        let first = |last: Tensor<3>| last.slice([0..rows, 0..1]).reshape([rows, hidden]);
        match (pooling, &self.network) {
            (Pooling::Pooler, Network::Encoder(encoder)) => encoder.pooler(first(last), tap),
            (Pooling::First | Pooling::Pooler, _) => first(last),
            (Pooling::Mean, _) => {
                let weights = batch.mean_weights().reshape([rows, 1, length]);
                weights.matmul(last).reshape([rows, hidden])
            }
        }
    }
}

fn tokenizer(files: &PlmFiles<'_>, common: &Common) -> Result<Tokenizer, PlmError> {
    let file = format!("{}/tokenizer.json", files.name);
    Tokenizer::read(&file, files.tokenizer, common.vocab_size)
}

/// Reads a model's network: itself, its blocks, its longest sequence, its tensors.
fn network(
    file: &str,
    text: &str,
    family: &str,
    mut l: Loader<'_>,
) -> Result<(Network, usize, usize, Loaded), PlmError> {
    Ok(match family {
        "bert" => {
            let bert = Bert::load(file, text, &mut l)?;
            let (layers, length) = (bert.layers(), bert.max_length());
            let loaded = l.finish(&bert::UNUSED)?;
            (Network::Encoder(Box::new(bert)), layers, length, loaded)
        }
        "mpnet" => {
            let mpnet = Mpnet::load(file, text, &mut l)?;
            let (layers, length) = (mpnet.layers(), mpnet.max_length());
            let loaded = l.finish(&mpnet::UNUSED)?;
            (Network::Encoder(Box::new(mpnet)), layers, length, loaded)
        }
        "bloom" => {
            let bloom = Bloom::load(file, text, &mut l)?;
            let layers = bloom.layers();
            let loaded = l.finish(&bloom::UNUSED)?;
            (
                Network::Decoder(Box::new(bloom)),
                layers,
                usize::MAX,
                loaded,
            )
        }
        "llama" | "qwen2" => {
            let llama = Llama::load(file, text, &mut l)?;
            let (layers, length) = (llama.layers(), llama.max_length());
            let loaded = l.finish(llama.unused())?;
            (Network::Decoder(Box::new(llama)), layers, length, loaded)
        }
        "t5" => {
            let t5 = T5::load(file, text, &mut l)?;
            let layers = t5.layers();
            let loaded = l.finish(&t5.unused())?;
            (
                Network::EncoderDecoder(Box::new(t5)),
                layers,
                usize::MAX,
                loaded,
            )
        }
        other => {
            return Err(PlmError::new(
                file,
                format!(
                    "\"model_type\": \"{other}\" is not supported (bert, mpnet, bloom, llama, qwen2, t5)"
                ),
            ));
        }
    })
}

fn three(x: Tensor<2>, batch: &Batch) -> Tensor<3> {
    let [_, hidden] = x.dims();
    x.reshape([batch.rows(), batch.length(), hidden])
}

fn family(file: &str, config: &str) -> Result<String, PlmError> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
    }
    let kind: Kind = serde_json::from_str(config)
        .map_err(|e| PlmError::new(file, format!("{e}, expected a JSON object")))?;
    kind.model_type.ok_or_else(|| {
        PlmError::new(
            file,
            "no field \"model_type\", expected \"bert\" or another",
        )
    })
}
