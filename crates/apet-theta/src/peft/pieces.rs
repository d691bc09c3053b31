//! All pieces of an adapter of peft that is to be written.

use std::collections::BTreeMap;

use apet_plm::{ModelArchitecture, Site, SiteId};
use serde_json::Value;

use crate::{
    peft::{
        module::{Module, modules},
        piece::Piece,
    },
    weight::AttachPoint,
};

/// All pieces of one format, with the model that they belong to.
#[derive(Debug)]
pub struct Pieces<'a> {
    /// The model.
    pub architecture: &'a ModelArchitecture,
    /// The prefix of a module's path in the model class.
    pub prefix: String,
    /// Every piece with its attach point, in the order of theta.
    pub pieces: Vec<(AttachPoint, Piece)>,
    /// The frozen tensors that the format asked for.
    pub frozen: BTreeMap<SiteId, Vec<f32>>,
}

/// Tensors and settings of an adapter.
#[derive(Debug)]
pub struct Written {
    /// The modules that are changed, by path; empty if the adapter belongs to no module.
    pub targets: Vec<String>,
    /// More fields of the config.
    pub fields: Value,
    /// Name, shape and values of each tensor.
    pub tensors: Vec<(String, Vec<usize>, Data)>,
    /// A note for readers.
    pub note: String,
}

/// A tensor's values.
#[derive(Debug)]
pub enum Data {
    /// F32.
    Floats(Vec<f32>),
    /// I32.
    Ints(Vec<i32>),
}

impl From<Vec<f32>> for Data {
    fn from(values: Vec<f32>) -> Self {
        Self::Floats(values)
    }
}

impl From<Vec<i32>> for Data {
    fn from(values: Vec<i32>) -> Self {
        Self::Ints(values)
    }
}

/// A site and its pieces.
pub(crate) type SitePieces<'a> = (SiteId, Vec<&'a Piece>);

impl<'a> Pieces<'a> {
    /// A site of the model.
    pub fn site(&self, id: SiteId) -> &'a Site {
        &self.architecture.sites[id]
    }

    /// The pieces at a site.
    pub fn at(&self, id: SiteId) -> impl Iterator<Item = &Piece> {
        let pieces = self.pieces.iter();
        let pieces = pieces.filter(move |(at, _)| *at == AttachPoint::Site(id));
        pieces.map(|(_, piece)| piece)
    }

    /// The modules that theta changes, each with the pieces at each of its sites.
    pub fn modules(&self) -> Vec<(Module, Vec<SitePieces<'_>>)> {
        modules(self.architecture)
            .into_iter()
            .filter_map(|module| {
                let parts: Vec<SitePieces<'_>> = module
                    .weights
                    .iter()
                    .map(|&id| (id, self.at(id).collect()))
                    .collect();
                let any = parts.iter().any(|(_, pieces)| !pieces.is_empty());
                any.then_some((module, parts))
            })
            .collect()
    }

    /// A module's path in the model class.
    pub fn path(&self, module: &Module) -> String {
        format!("{}{}", self.prefix, module.path)
    }

    /// Rows of a module's whole weight.
    pub fn rows(&self, module: &Module) -> usize {
        module
            .weights
            .iter()
            .map(|&id| self.site(id).shape[0])
            .sum()
    }
}
