//! The tensors that APET may place its parameters in.

use apet_plm::{Site, SiteId};
use apet_record::{Pool as PoolSpec, SpecError};

/// For each tensor that has any selected scalars, their row-major positions, ascending.
pub type Placed = Vec<(SiteId, Vec<u64>)>;

/// The tensors that a pool's description selects, in the order of the model.
#[derive(Clone, Debug)]
pub struct Pool {
    sites: Vec<(SiteId, Vec<usize>)>,
}

impl Pool {
    /// Selects among `sites`, of which `usable` are part of the run's forward pass.
    ///
    /// # Errors
    /// When layers are named that the model does not have, or nothing is selected.
    pub fn new(
        sites: &[Site],
        usable: impl Fn(&Site) -> bool,
        spec: &PoolSpec,
    ) -> Result<Self, SpecError> {
        let filter = Filter::new(sites, spec)?;
        let sites: Vec<_> = sites
            .iter()
            .enumerate()
            .filter(|(_, site)| usable(site) && spec.modules.contains(&site.module))
            .filter(|(_, site)| filter.has(&site.name, site.layer) && filter.has_part(site))
            .map(|(id, site)| (id, site.shape.clone()))
            .collect();
        if sites.is_empty() {
            return Err(SpecError {
                field: "method.pool".into(),
                problem: "selects no tensor of this model, expected at least one".into(),
            });
        }
        Ok(Self { sites })
    }

    /// Its tensors with their shapes.
    pub fn sites(&self) -> &[(SiteId, Vec<usize>)] {
        &self.sites
    }

    /// Scalars in the pool.
    pub fn size(&self) -> u64 {
        self.sizes().map(|(_, size)| size).sum()
    }

    /// Its tensors with their scalars.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (SiteId, u64)> {
        let size = |shape: &[usize]| shape.iter().map(|&n| n as u64).product();
        self.sites.iter().map(move |(id, shape)| (*id, size(shape)))
    }
}

/// What of a pool's description holds for places, too: blocks and names.
pub(crate) struct Filter<'a> {
    spec: &'a PoolSpec,
    pattern: Option<regex_lite::Regex>,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(sites: &[Site], spec: &'a PoolSpec) -> Result<Self, SpecError> {
        let layers = sites.iter().filter_map(|s| s.layer).max();
        let layers = layers.map_or(0, |last| last + 1);
        if let Some(range) = spec.layers
            && range.last >= layers
        {
            return Err(SpecError {
                field: "method.pool.layers".into(),
                problem: format!(
                    "found last {}, the model has blocks 0 to {}",
                    range.last,
                    layers.saturating_sub(1)
                ),
            });
        }
        let pattern = spec.pattern()?;
        Ok(Self { spec, pattern })
    }

    /// Whether a name in a block is selected.
    pub(crate) fn has(&self, name: &str, layer: Option<usize>) -> bool {
        let in_layers = self.spec.layers.is_none_or(|range| {
            layer.is_some_and(|layer| (range.first..=range.last).contains(&layer))
        });
        in_layers && self.pattern.as_ref().is_none_or(|p| p.is_match(name))
    }

    fn has_part(&self, site: &Site) -> bool {
        let parts = self.spec.parts.as_ref();
        parts.is_none_or(|parts| parts.contains(&site.part))
    }
}
