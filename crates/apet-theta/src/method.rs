//! Methods: each a short recipe that lists the weights of theta.

use apet_kernels::SparseIndex;
use apet_plm::{Site, SiteId};
use apet_record::{Method, RunSpec, SpecError};
use burn::tensor::Device;

use crate::{
    place::{Pool, positions},
    theta::{Structure, Weight},
};

/// What a method tunes, before values are given.
#[derive(Default)]
pub(crate) struct Recipe {
    pub(crate) weights: Vec<Weight>,
    /// Count that was asked for, where the method takes one.
    pub(crate) nominal: Option<u64>,
    /// Scalars of the pool they were drawn from; 0 where none were drawn.
    pub(crate) pool: u64,
    offset: usize,
}

impl Recipe {
    pub(crate) fn push(
        &mut self,
        name: impl Into<String>,
        site: Option<SiteId>,
        structure: Structure,
        shape: Vec<usize>,
    ) {
        let weight = Weight {
            name: name.into(),
            site,
            structure,
            shape,
            offset: self.offset,
        };
        self.offset += weight.len();
        self.weights.push(weight);
    }

    fn own(&mut self, id: SiteId, site: &Site) {
        self.push(&site.name, Some(id), Structure::Owned, site.shape.clone());
    }
}

/// The recipe of the spec's method over the used sites of a model; places are kept on `device`.
pub(crate) fn recipe(
    sites: &[Site],
    spec: &RunSpec,
    used: &dyn Fn(&Site) -> bool,
    device: &Device,
) -> Result<Recipe, SpecError> {
    let mut recipe = Recipe::default();
    let all = sites;
    let sites = || all.iter().enumerate().filter(|(_, s)| used(s));
    match &spec.method {
        Method::Head {} => {}
        Method::Full {} => sites().for_each(|(id, site)| recipe.own(id, site)),
        Method::Bitfit {} => sites()
            .filter(|(_, site)| site.is_bias())
            .for_each(|(id, site)| recipe.own(id, site)),
        Method::Lora {
            rank,
            alpha,
            targets,
        } => {
            let scale = alpha / *rank as f64;
            for target in targets {
                let before = recipe.weights.len();
                for (id, site) in sites().filter(|(_, site)| is_target(site, target)) {
                    let [outputs, inputs] = site.shape[..] else {
                        continue;
                    };
                    let name = |part: &str| format!("{}.{part}", site.name);
                    let (a, b) = (vec![*rank, inputs], vec![outputs, *rank]);
                    recipe.push(name("lora_A"), Some(id), Structure::LowRankA, a);
                    recipe.push(name("lora_B"), Some(id), Structure::LowRankB { scale }, b);
                }
                if recipe.weights.len() == before {
                    return Err(no_target(target, sites().map(|(_, s)| s)));
                }
            }
        }
        Method::Apet { count, pool } => {
            let pool = Pool::new(all, used, pool)?;
            recipe.nominal = Some(*count);
            recipe.pool = pool.size();
            for (id, positions) in positions(&pool, *count, spec.seeds.placement)? {
                let site = &all[id];
                let index = Box::new(index(site, &positions, device));
                let shape = vec![positions.len()];
                let name = format!("{}.sparse", site.name);
                recipe.push(
                    name,
                    Some(id),
                    Structure::Sparse { positions, index },
                    shape,
                );
            }
        }
    }
    Ok(recipe)
}

/// The matrix a site's delta acts as: a linear weight or a table as it is; a
/// LayerNorm scale as a diagonal on the normalized input; a bias as one column
/// on a constant input of 1.
fn index(site: &Site, positions: &[u64], device: &Device) -> SparseIndex {
    match site.shape[..] {
        [rows, cols] => SparseIndex::new(rows, cols, positions, device),
        _ if site.is_bias() => SparseIndex::new(site.len(), 1, positions, device),
        _ => {
            let width = site.len() as u64;
            let diagonal: Vec<u64> = positions.iter().map(|p| p * width + p).collect();
            SparseIndex::new(site.len(), site.len(), &diagonal, device)
        }
    }
}

/// Whether a site is the weight of a linear layer whose name ends in `target`.
fn is_target(site: &Site, target: &str) -> bool {
    let layer = site.linear_layer();
    layer.is_some_and(|layer| layer == target || layer.ends_with(&format!(".{target}")))
}

fn no_target<'a>(target: &str, sites: impl Iterator<Item = &'a Site>) -> SpecError {
    let mut known: Vec<String> = sites
        .filter_map(Site::linear_layer)
        .filter_map(|name| name.rsplit('.').next().map(str::to_owned))
        .collect();
    known.sort_unstable();
    known.dedup();
    SpecError {
        field: "method.targets".into(),
        problem: format!(
            "\"{target}\" is no linear layer of this model, expected one of {}",
            known.join(", ")
        ),
    }
}
