//! A model without its weights, as its config.json describes it.

use apet_checkpoint::{Config, Dtype, Kind, family::Classifier};
use apet_record::{Module, Pooling};
use burn::tensor::Device;

use crate::{
    families,
    footprint::Footprint,
    hooks::{InsertionPoint, Site},
    loader::Loader,
};

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
    /// The model that `config` describes, with a pooler if its family has one.
    pub fn new(name: &str, config: Config) -> Self {
        let device = Device::flex();
        let mut loader = Loader::new(None, &device, Dtype::F32);
        families::load(&config, &mut loader);
        let (sites, insertion_points) = loader.architecture();
        Self {
            name: name.to_owned(),
            config,
            sites,
            insertion_points,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.config.info().kind
    }

    /// Scalars of all sites, and of all but embedding tables.
    pub fn parameters(&self) -> (u64, u64) {
        let count = |keep: &dyn Fn(&Site) -> bool| -> u64 {
            let kept = self.sites.iter().filter(|s| keep(s));
            kept.map(|s| s.len() as u64).fold(0, u64::saturating_add)
        };
        (count(&|_| true), count(&|s| s.module != Module::Embedding))
    }

    /// Bytes of its weights with matrices as `dtype`. Vectors are always f32.
    pub fn bytes(&self, dtype: Dtype) -> u64 {
        let size = |site: &Site| match site.shape.len() {
            1 => Dtype::F32.size(),
            _ => dtype.size(),
        };
        let bytes = |site: &Site| (site.len() as u64).saturating_mul(size(site) as u64);
        self.sites.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Whether a classification with this pooling uses a site. It uses neither the head of a
    /// language model nor the decoder of an encoder-decoder, and the pooler only as its pooling.
    pub fn in_classification(&self, site: &Site, pooling: Pooling) -> bool {
        let is_encoder =
            self.kind() != Kind::EncoderDecoder || !site.tensor.starts_with("decoder.");
        is_encoder
            && site.module != Module::LmHead
            && (site.module != Module::Pooler || pooling == Pooling::Pooler)
    }

    /// Whether a classification uses an insertion point. It uses none in the decoder of an
    /// encoder-decoder.
    pub fn insertion_point_in_classification(&self, point: &InsertionPoint) -> bool {
        self.kind() != Kind::EncoderDecoder || !point.name.starts_with("decoder.")
    }

    /// Prefix of tensor names in transformers' classes with a head; checkpoints may have it.
    pub fn prefix(&self) -> &'static str {
        self.config.info().prefix
    }

    /// A tensor's or module's name without this prefix.
    pub fn bare<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.prefix()).unwrap_or(name)
    }

    /// transformers' class for sequence classification, if it is this model with a linear head
    /// on this pooling.
    pub fn classifier(&self, pooling: Pooling) -> Option<Classifier> {
        let own = self.config.info().classifier;
        own.filter(|own| own.pooling == pooling)
    }

    /// What each block keeps for its gradients, in the order of the forward pass.
    pub fn footprints(&self) -> Vec<Footprint> {
        families::footprints(&self.config)
    }

    /// Whether a classification head can use this pooling.
    pub fn can_pool(&self, pooling: Pooling) -> bool {
        match (self.kind(), pooling) {
            (_, Pooling::Pooler) => self.sites.iter().any(|s| s.module == Module::Pooler),
            // A decoder's first token attends to no other.
            (Kind::Decoder, Pooling::First) => false,
            _ => true,
        }
    }
}
