//! A model of any family with its tokenizer.

use apet_checkpoint::{
    Config, Dtype, Encoded, Kind, PlmError, Tokenizer, Weights, config::Special,
};
use apet_record::{ModelInfo, Pooling};
use burn::{Tensor, tensor::Device};

use crate::{
    architecture::ModelArchitecture,
    batch::{Batch, Padding},
    blocks::{Network, run_blocks},
    families,
    hooks::{INPUT, LayerHooks, Site, SiteId},
    loader::Loader,
    pass::Pass,
};

/// The files of a Hugging Face directory, and its name for errors.
#[derive(Clone, Copy)]
pub struct PlmFiles<'a> {
    /// Name of the model, which is that of the directory.
    pub name: &'a str,
    /// `config.json`.
    pub config: &'a str,
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// The checkpoint.
    pub weights: &'a dyn Weights,
}

impl PlmFiles<'_> {
    fn tokenizer(&self, config: &Config) -> Result<Tokenizer, PlmError> {
        let file = format!("{}/tokenizer.json", self.name);
        Tokenizer::read(&file, self.tokenizer, config.vocabulary())
    }
}

/// A frozen pretrained language model with its tokenizer.
#[derive(Debug)]
pub struct Plm {
    info: ModelInfo,
    architecture: ModelArchitecture,
    values: Vec<Tensor<1>>,
    pub(crate) network: Network,
    tokenizer: Tokenizer,
    pub(crate) pad: u32,
    /// Tokens that end a generated text.
    ends: Vec<u32>,
    dtype: Dtype,
    device: Device,
}

impl Plm {
    /// Loads a model onto a device, its matrices as `dtype`.
    ///
    /// # Errors
    /// Names the file and the problem; see [`PlmError`].
    pub fn load(files: PlmFiles<'_>, dtype: Dtype, device: &Device) -> Result<Self, PlmError> {
        let file = format!("{}/config.json", files.name);
        let config = Config::read(&file, files.config)?;
        let special = Special::read(&file, files.config)?;
        let mut loader = Loader::new(Some(files.weights), device, dtype);
        let (network, unused) = families::load(&config, &mut loader);
        let loaded = loader.finish(&unused)?;
        let tokenizer = files.tokenizer(&config)?;
        let architecture = ModelArchitecture {
            name: files.name.to_owned(),
            config,
            sites: loaded.sites,
            insertion_points: loaded.insertion_points,
        };
        let (parameters, parameters_without_embeddings) = architecture.parameters();
        let info = ModelInfo {
            name: files.name.to_owned(),
            family: architecture.config.family().to_owned(),
            layers: architecture.config.layers(),
            hidden: architecture.config.hidden(),
            parameters,
            parameters_without_embeddings,
            weights_hash: loaded.hash,
            extra: Default::default(),
        };
        Ok(Self {
            info,
            architecture,
            values: loaded.values,
            network,
            // Padding is masked, so any token will do.
            pad: special.pad.or(tokenizer.pad()).unwrap_or(0),
            ends: special.ends,
            tokenizer,
            dtype,
            device: device.clone(),
        })
    }

    /// Checks config.json, the tokenizer, and every name, shape and type as loading does, without
    /// reading the numbers of any tensor.
    ///
    /// # Errors
    /// As [`Plm::load`].
    pub fn check(files: PlmFiles<'_>) -> Result<ModelArchitecture, PlmError> {
        let config = Config::read(&format!("{}/config.json", files.name), files.config)?;
        let device = Device::flex(); // unused
        let mut loader = Loader::check(files.weights, &device);
        let (_, unused) = families::load(&config, &mut loader);
        let loaded = loader.finish(&unused)?;
        files.tokenizer(&config)?;
        Ok(ModelArchitecture {
            name: files.name.to_owned(),
            config,
            sites: loaded.sites,
            insertion_points: loaded.insertion_points,
        })
    }

    /// Name, family, sizes.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Its config and its sites.
    pub fn architecture(&self) -> &ModelArchitecture {
        &self.architecture
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.architecture.kind()
    }

    /// The type of its matrices.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Every tensor of the model, in the order of the forward pass. A site's index here is its id.
    pub fn sites(&self) -> &[Site] {
        &self.architecture.sites
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

    /// The device of the weights, never an autodiff one.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Maximum length of a sequence in tokens; `usize::MAX` for relative positions.
    pub fn max_length(&self) -> usize {
        self.architecture.config.max_length()
    }

    /// Sequences padded on the side that this kind of model needs.
    pub fn batch(&self, sequences: &[&Encoded]) -> Batch {
        let padding = match self.network {
            Network::Decoder(_) => Padding::Left,
            _ => Padding::Right,
        };
        Batch::new(sequences, self.pad, padding, &self.device)
    }

    /// The model's states for a batch, `[rows, length, hidden]`; those of the encoder in an
    /// encoder-decoder. Virtual tokens precede the batch's own.
    pub fn states(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Tensor<3> {
        let x = self.forward(batch, hooks, &mut |_| {});
        three(x, batch.rows())
    }

    /// The forward pass of [`Plm::states`], in pieces.
    pub fn pass(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Pass<'_> {
        Pass::new(
            &self.network,
            batch.with_virtual_tokens(hooks.virtual_tokens(INPUT)),
            None,
        )
    }

    /// Scores of every token of the vocabulary for last states, `[tokens, hidden]` to
    /// `[tokens, vocabulary]`: by the head, or by the token table in an encoder.
    pub fn token_scores(&self, states: Tensor<2>, hooks: &dyn LayerHooks) -> Tensor<2> {
        self.network.logits(states, hooks)
    }

    /// A pass's last states as [`Plm::pool`] takes them, `[rows, length, hidden]`.
    pub fn rows_of(&self, batch: &Batch, states: Tensor<2>) -> Tensor<3> {
        three(states, batch.rows())
    }

    /// All states as transformers' `hidden_states`, each `[rows, length, hidden]`; the last
    /// one is the model's output.
    pub fn hidden_states(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Vec<Tensor<3>> {
        let mut states = Vec::new();
        self.forward(batch, hooks, &mut |x| {
            states.push(three(x.clone(), batch.rows()))
        });
        states
    }

    fn forward(
        &self,
        batch: &Batch,
        hooks: &dyn LayerHooks,
        see: &mut dyn FnMut(&Tensor<2>),
    ) -> Tensor<2> {
        let batch = &batch.with_virtual_tokens(hooks.virtual_tokens(INPUT));
        run_blocks(self.network.reading(), batch, None, hooks, see)
    }

    /// One vector per sequence, `[rows, hidden]`. `last` may start with virtual tokens, which count
    /// as tokens: the first token is then a virtual one.
    pub fn pool(
        &self,
        batch: &Batch,
        last: Tensor<3>,
        pooling: Pooling,
        hooks: &dyn LayerHooks,
    ) -> Tensor<2> {
        let [rows, length, hidden] = last.dims();
        let batch = batch.with_virtual_tokens(length - batch.length());
        let first = |last: Tensor<3>| last.slice([0..rows, 0..1]).reshape([rows, hidden]);
        match (pooling, &self.network) {
            (Pooling::Pooler, Network::Encoder(encoder)) => encoder.pooler(first(last), hooks),
            (Pooling::First | Pooling::Pooler, _) => first(last),
            (Pooling::Mean, _) => {
                let weights = batch.mean_weights().reshape([rows, length, 1]);
                (last * weights).sum_dim(1).reshape([rows, hidden])
            }
        }
    }
}

fn three(x: Tensor<2>, rows: usize) -> Tensor<3> {
    let [tokens, hidden] = x.dims();
    x.reshape([rows, tokens / rows, hidden])
}
