//! A checkpoint's modules, to which adapters of peft belong.

use apet_plm::{ModelArchitecture, Site, SiteId};

/// peft's name of the class that wraps a model.
pub(crate) const WRAPPED: &str = "base_model.model.";

/// A module of a checkpoint, in the order of the model: the linear layer, norm or table that
/// has a weight, and the sites that it consists of.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its path, as in the model class that has no head.
    pub path: String,
    /// The sites of its weight.
    pub weights: Vec<SiteId>,
}

/// All modules of a model.
pub(crate) fn modules(architecture: &ModelArchitecture) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for (id, site) in architecture.sites.iter().enumerate() {
        let Some(module) = site.tensor.strip_suffix(".weight") else {
            continue;
        };
        let path = architecture.bare(module);
        match modules.iter_mut().find(|m| m.path == path) {
            Some(module) => module.weights.push(id),
            None => modules.push(Module {
                path: path.to_owned(),
                weights: vec![id],
            }),
        }
    }
    modules
}

/// The rows of a fused module that are those of a site, in its order.
pub(crate) fn rows_of(site: &Site) -> Vec<usize> {
    let rows = 0..site.shape[0];
    match site.rows {
        None => rows.collect(),
        Some(of) => rows.map(|row| of.of(row)).collect(),
    }
}
