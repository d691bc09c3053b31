//! Where element-mode APET puts its parameters: scalars drawn uniformly, without
//! replacement, from a pool of tensors.

use apet_plm::{Site, SiteId};
use apet_record::{Pool as PoolSpec, SpecError, Stream};

/// The tensors that a pool's description selects, in the order of the model.
#[derive(Clone, Debug)]
pub struct Pool {
    sites: Vec<(SiteId, u64)>,
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
        let layers = sites
            .iter()
            .filter_map(|s| s.layer)
            .max()
            .map_or(0, |l| l + 1);
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
        let selected = |site: &Site| {
            spec.modules.contains(&site.module)
                && spec.layers.is_none_or(|range| {
                    site.layer
                        .is_some_and(|l| (range.first..=range.last).contains(&l))
                })
        };
        let sites: Vec<(SiteId, u64)> = sites
            .iter()
            .enumerate()
            .filter(|(_, site)| usable(site) && selected(site))
            .map(|(id, site)| (id, site.len() as u64))
            .collect();
        if sites.is_empty() {
            return Err(SpecError {
                field: "method.pool".into(),
                problem: "selects no tensor of this model, expected at least one".into(),
            });
        }
        Ok(Self { sites })
    }

    /// Scalars in the pool.
    pub fn size(&self) -> u64 {
        self.sites.iter().map(|(_, len)| len).sum()
    }
}

/// Draws `count` places: for each tensor that got any, its ascending positions.
///
/// # Errors
/// When the pool is smaller than `count`.
pub fn positions(pool: &Pool, count: u64, seed: u64) -> Result<Vec<(SiteId, Vec<u64>)>, SpecError> {
    let size = pool.size();
    if count > size {
        return Err(SpecError {
            field: "method.count".into(),
            problem: format!(
                "found {count}, the pool has {size} parameters; lower the count or widen the pool"
            ),
        });
    }
    let drawn = Stream::new("placement", seed).sample(size, count);
    let mut placed = Vec::new();
    let (mut start, mut rest) = (0, drawn.as_slice());
    for &(site, len) in &pool.sites {
        let here = rest.partition_point(|&p| p < start + len);
        if here > 0 {
            placed.push((site, rest[..here].iter().map(|p| p - start).collect()));
        }
        rest = &rest[here..];
        start += len;
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apet_record::{Layers, Module};

    fn sites() -> Vec<Site> {
        let site = |name: &str, shape: &[usize], module, layer| Site {
            name: name.into(),
            tensor: name.into(),
            rows: None,
            shape: shape.to_vec(),
            module,
            layer,
        };
        vec![
            site("embed.weight", &[50, 4], Module::Embedding, None),
            site("0.query.weight", &[4, 4], Module::Attention, Some(0)),
            site("0.query.bias", &[4], Module::Bias, Some(0)),
            site("1.query.weight", &[4, 4], Module::Attention, Some(1)),
        ]
    }

    fn pool(modules: &[Module], layers: Option<Layers>) -> Result<Pool, SpecError> {
        let spec = PoolSpec {
            modules: modules.to_vec(),
            layers,
        };
        Pool::new(&sites(), |_| true, &spec)
    }

    #[test]
    fn pools_select_modules_and_layers() {
        assert_eq!(pool(&[Module::Attention], None).unwrap().size(), 32);
        let first = Some(Layers { first: 0, last: 0 });
        assert_eq!(
            pool(&[Module::Attention, Module::Bias], first)
                .unwrap()
                .size(),
            20
        );
        assert_eq!(pool(&[Module::Embedding], None).unwrap().size(), 200);
        let beyond = Some(Layers { first: 0, last: 2 });
        let error = pool(&[Module::Attention], beyond).unwrap_err().to_string();
        assert_eq!(
            error,
            "method.pool.layers: found last 2, the model has blocks 0 to 1"
        );
        assert!(pool(&[Module::Embedding], first).is_err());
    }

    #[test]
    fn counts_are_exact_from_one_to_all() {
        let all = pool(&[Module::Embedding, Module::Attention, Module::Bias], None).unwrap();
        for count in [1, 2, 17, 119, 235, 236] {
            let placed = positions(&all, count, 5).unwrap();
            assert_eq!(
                placed.iter().map(|(_, p)| p.len() as u64).sum::<u64>(),
                count
            );
            for (site, p) in &placed {
                assert!(p.windows(2).all(|w| w[0] < w[1]));
                assert!(p.iter().all(|&p| p < sites()[*site].len() as u64));
            }
        }
        let error = positions(&all, 237, 5).unwrap_err().to_string();
        assert!(
            error.starts_with("method.count: found 237, the pool has 236"),
            "{error}"
        );
    }
}
