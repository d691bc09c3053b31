//! theta worked into the weights: the tensors of a model that needs no theta any more.

use std::collections::BTreeMap;

use apet_plm::{Plm, Site, SiteId};

use crate::{
    file::FileError,
    theta::Theta,
    weight::{AttachPoint, Structure, Weight},
};

impl Theta {
    /// The tensors that theta, with `values`, makes of a model's: those that differ, by site,
    /// row-major in f32. The head is none of them.
    ///
    /// # Errors
    /// Names what no tensor of the model can hold: virtual tokens, adapters, biases of layers
    /// that have none. Or when the device fails.
    pub async fn merged(
        &self,
        plm: &Plm,
        values: &[f32],
    ) -> Result<BTreeMap<SiteId, Vec<f32>>, FileError> {
        let mut tensors = BTreeMap::new();
        let mut factor_a: &[f32] = &[];
        // Scales act on all that is added, so they come last; A stays before its B.
        let mut weights: Vec<(usize, &Weight)> = self.weights().iter().enumerate().collect();
        weights.sort_by_key(|(_, weight)| {
            let structure = &weight.structure;
            matches!(structure, Structure::ScaleOutput | Structure::ScaleInput)
        });
        for (number, weight) in weights {
            let own = &values[weight.offset..weight.offset + weight.len()];
            let id = match weight.at {
                AttachPoint::Site(id) => id,
                AttachPoint::Head => continue,
                AttachPoint::InsertionPoint(_) => {
                    let what = match weight.structure {
                        Structure::Prompt => "virtual tokens",
                        _ => "an adapter",
                    };
                    return Err(cannot(weight, what));
                }
            };
            let site = &plm.sites()[id];
            if let Structure::LowRankA = weight.structure {
                factor_a = own;
                continue;
            }
            let mut changed = vec![(id, site)];
            if let Structure::ScaleOutput = weight.structure {
                changed.extend(bias_of(plm.sites(), id));
            }
            if let Structure::Bias = weight.structure {
                return Err(cannot(weight, "a bias of a layer that has none"));
            }
            for &(id, _) in &changed {
                if let std::collections::btree_map::Entry::Vacant(new) = tensors.entry(id) {
                    new.insert(read(plm.value(id)).await?);
                }
            }
            let factors = self.factors(number, own);
            let factors = match &factors {
                Some((a, b)) => (&a[..], &b[..]),
                None => (factor_a, own),
            };
            for (id, site) in changed {
                if let Some(tensor) = tensors.get_mut(&id) {
                    work_in(weight, own, factors, site, tensor);
                }
            }
        }
        Ok(tensors)
    }
}

/// Works a weight into a tensor, of its site or of the bias beside it; `factors` are A and B
/// of a low-rank delta.
fn work_in(weight: &Weight, own: &[f32], factors: (&[f32], &[f32]), site: &Site, to: &mut [f32]) {
    let width = site.shape.iter().skip(1).product::<usize>();
    match &weight.structure {
        Structure::Owned => to.copy_from_slice(own),
        Structure::Sparse { positions, .. } => {
            for (&position, value) in positions.iter().zip(own) {
                to[position as usize] += value;
            }
        }
        Structure::LowRankB { scale } => {
            add_product(to, factors, (weight.shape[1], width), *scale);
        }
        Structure::LowRankScalars { rank, scale, .. } => {
            add_product(to, factors, (*rank, width), *scale);
        }
        Structure::ScaleOutput => {
            for (row, scale) in to.chunks_exact_mut(width).zip(own) {
                row.iter_mut().for_each(|value| *value *= scale);
            }
        }
        Structure::ScaleInput => {
            for row in to.chunks_exact_mut(width) {
                row.iter_mut()
                    .zip(own)
                    .for_each(|(value, scale)| *value *= scale);
            }
        }
        _ => {}
    }
}

/// to += scale B A, summed in f64.
fn add_product(
    to: &mut [f32],
    (a, b): (&[f32], &[f32]),
    (rank, width): (usize, usize),
    scale: f64,
) {
    for (row, b) in to.chunks_exact_mut(width).zip(b.chunks_exact(rank)) {
        for (column, value) in row.iter_mut().enumerate() {
            let products = b.iter().enumerate();
            let sum: f64 = products
                .map(|(r, &b)| f64::from(b) * f64::from(a[r * width + column]))
                .sum();
            *value = (f64::from(*value) + scale * sum) as f32;
        }
    }
}

/// The bias beside a linear layer's weight, where it has one.
fn bias_of(sites: &[Site], weight: SiteId) -> Option<(SiteId, &Site)> {
    let layer = sites[weight].tensor.strip_suffix(".weight")?;
    let part = sites[weight].name.strip_prefix(&sites[weight].tensor)?;
    let bias = format!("{layer}.bias{part}");
    sites.iter().enumerate().find(|(_, site)| site.name == bias)
}

fn cannot(weight: &Weight, what: &str) -> FileError {
    let instead = match weight.structure {
        Structure::Prompt => "peft or apet",
        _ => "apet",
    };
    FileError(format!(
        "{}: is {what}, which no tensor of the model can hold; export it as {instead}",
        weight.name
    ))
}

/// Reads a tensor as f32.
pub(crate) async fn read(tensor: burn::Tensor<1>) -> Result<Vec<f32>, FileError> {
    let data = tensor.into_data_async().await;
    let data = data.map_err(|e| FileError(e.to_string()))?;
    Ok(data.iter::<f32>().collect())
}
