//! A model without its weights: what a config.json alone says of it.

use apet_checkpoint::{Config, Dtype};
use apet_record::{Module, Pooling};
use burn::tensor::Device;

use crate::{InsertionPoint, Site, loader::Loader, model::Network};

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

/// A model's name, config and sites.
#[derive(Clone, Debug)]
pub struct ModelArchitecture {
    /// Name, for errors.
    pub name: String,
    /// Its config.json.
    pub config: Config,
    /// Every tensor of the model, in the order of the forward pass. A site's index here is its id.
    pub sites: Vec<Site>,
    /// Every insertion point. Its index here is its id.
    pub insertion_points: Vec<InsertionPoint>,
}

impl ModelArchitecture {
    /// The model that `config` describes, with a pooler where its family has one.
    pub fn new(name: &str, config: Config) -> Self {
        let device = Device::flex();
        let mut loader = Loader::new(None, &device, Dtype::F32);
        Network::load(&config, &mut loader);
        let (sites, insertion_points) = loader.architecture();
        Self {
            name: name.to_owned(),
            config,
            sites,
            insertion_points,
        }
    }

    /// What it can do.
    pub fn kind(&self) -> Kind {
        match self.config {
            Config::Bert(_) | Config::Mpnet(_) => Kind::Encoder,
            Config::Bloom(_) | Config::Llama(_) => Kind::Decoder,
            Config::T5(_) => Kind::EncoderDecoder,
        }
    }

    /// Scalars of all sites, and of those that are no embedding table.
    pub fn parameters(&self) -> (u64, u64) {
        let count = |keep: &dyn Fn(&Site) -> bool| -> u64 {
            let kept = self.sites.iter().filter(|s| keep(s));
            kept.map(|s| s.len() as u64).fold(0, u64::saturating_add)
        };
        (count(&|_| true), count(&|s| s.module != Module::Embedding))
    }

    /// Bytes of its weights, matrices kept as `dtype`; vectors are always f32.
    pub fn bytes(&self, dtype: Dtype) -> u64 {
        let size = |site: &Site| match site.shape.len() {
            1 => Dtype::F32.size(),
            _ => dtype.size(),
        };
        let bytes = |site: &Site| (site.len() as u64).saturating_mul(size(site) as u64);
        self.sites.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Whether a classification with this pooling uses a site at all: not the head of a
    /// language model, not the decoder of T5, and the pooler only where it is asked for.
    pub fn in_classification(&self, site: &Site, pooling: Pooling) -> bool {
        let is_encoder =
            self.kind() != Kind::EncoderDecoder || !site.tensor.starts_with("decoder.");
        is_encoder
            && site.module != Module::LmHead
            && (site.module != Module::Pooler || pooling == Pooling::Pooler)
    }

    /// Whether a classification uses an insertion point at all: not in the decoder of T5.
    pub fn insertion_point_in_classification(&self, point: &InsertionPoint) -> bool {
        self.kind() != Kind::EncoderDecoder || !point.name.starts_with("decoder.")
    }

    /// What stands before a tensor's name where the model is part of a class with a head, and
    /// may stand there in checkpoints: `bert.`, `transformer.`, `model.`, nothing in T5.
    pub fn prefix(&self) -> String {
        match self.config {
            Config::Bert(_) => "bert.",
            Config::Mpnet(_) => "mpnet.",
            Config::Bloom(_) => "transformer.",
            Config::Llama(_) => "model.",
            Config::T5(_) => "",
        }
        .into()
    }

    /// A tensor's or module's name without that.
    pub fn bare<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(&self.prefix()).unwrap_or(name)
    }

    /// Whether transformers' class for sequence classification is this model with a linear
    /// head on this pooling: BERT with its pooler.
    pub fn classifies_as(&self, pooling: Pooling) -> bool {
        matches!(self.config, Config::Bert(_)) && pooling == Pooling::Pooler
    }

    /// Whether a classification head can stand on this pooling.
    pub fn can_pool(&self, pooling: Pooling) -> bool {
        match (self.kind(), pooling) {
            (_, Pooling::Pooler) => self.sites.iter().any(|s| s.module == Module::Pooler),
            // A decoder's first token sees no other.
            (Kind::Decoder, Pooling::First) => false,
            _ => true,
        }
    }
}
