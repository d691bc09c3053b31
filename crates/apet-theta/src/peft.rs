//! Adapters of Hugging Face peft: `adapter_config.json` and `adapter_model.safetensors`
//! become theta, and theta becomes them. What one side can not hold is refused with the
//! reason, never dropped.
//!
//! | peft's type | theta's weights | read | written |
//! |---|---|---|---|
//! | LORA | low-rank pairs, scalars of their factors | yes | yes |
//! | PROMPT_TUNING | virtual tokens | yes | yes |
//! | IA3 | scales of linear layers' outputs and inputs | yes | yes |
//! | LN_TUNING | whole scales and biases of norms | yes | yes |
//! | SHIRA | scalars of linear layers' weights | yes | yes |
//! | SUPERTUNING | the same, and low-rank pairs | yes | no |
//!
//! A layer that a checkpoint keeps fused (BLOOM's query_key_value) is one module there and
//! several sites here: low-rank pairs of its parts are written as one of the sum of their
//! ranks, with blocks of 0, and read back as pairs.

mod method;
mod read;
mod write;

use apet_plm::{ModelArchitecture, Site, SiteId};

pub use write::Adapter;

use crate::file::FileError;

/// peft's name of what wraps a model.
const WRAPPED: &str = "base_model.model.";

/// A module of a checkpoint, in the order of the model: the linear layer, norm or table that
/// has a weight, and the sites that it consists of.
struct Module {
    /// Its path, as in the model class that has no head.
    path: String,
    /// The sites of its weight.
    weights: Vec<SiteId>,
}

fn config_error(problem: String) -> FileError {
    FileError(format!("adapter_config.json: {problem}"))
}

/// All modules of a model.
fn modules(architecture: &ModelArchitecture) -> Vec<Module> {
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
fn rows_of(site: &Site) -> Vec<usize> {
    let rows = 0..site.shape[0];
    match site.rows {
        None => rows.collect(),
        Some(of) => rows.map(|row| of.of(row)).collect(),
    }
}
