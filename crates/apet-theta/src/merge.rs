//! theta worked into the weights: the tensors of a model that needs no theta any more.

use std::collections::{BTreeMap, btree_map::Entry};

use apet_plm::{Plm, Site, SiteId};

use crate::{delta::Merge, error::FileError, theta::Theta, weight::AttachPoint};

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
        // Copies first, then what is added; scales act on all that was added, so they come last.
        let mut deltas: Vec<usize> = (0..self.layout().deltas.len()).collect();
        deltas.sort_by_key(|&number| phase(self.layout().deltas[number].delta.kind().merge));
        for number in deltas {
            let attached = &self.layout().deltas[number];
            let merge = attached.delta.kind().merge;
            let own = self.delta_values(number, values);
            let id = match (attached.at, merge) {
                (AttachPoint::Head, _) => continue,
                (_, Merge::Never { what, export }) => {
                    return Err(FileError(format!(
                        "{}: is {what}, which no tensor of the model can hold; export it as {export}",
                        own.weights[0].name
                    )));
                }
                (AttachPoint::Site(id), _) => id,
                (AttachPoint::InsertionPoint(_), _) => continue,
            };
            let mut changed = vec![(id, &plm.sites()[id])];
            if merge == Merge::ScaleWithBias {
                changed.extend(bias_of(plm.sites(), id));
            }
            for &(id, site) in &changed {
                let tensor = match tensors.entry(id) {
                    Entry::Vacant(new) => new.insert(read(plm.value(id)).await?),
                    Entry::Occupied(old) => old.into_mut(),
                };
                let width = site.shape.iter().skip(1).product::<usize>();
                attached.delta.merge(&own, tensor, width);
            }
        }
        Ok(tensors)
    }
}

/// The order in which kinds of changes are merged.
fn phase(merge: Merge) -> u8 {
    match merge {
        Merge::Replace => 0,
        Merge::Never { .. } | Merge::Add => 1,
        Merge::Scale | Merge::ScaleWithBias => 2,
    }
}

/// The bias beside a linear layer's weight, where it has one.
fn bias_of(sites: &[Site], weight: SiteId) -> Option<(SiteId, &Site)> {
    let layer = sites[weight].tensor.strip_suffix(".weight")?;
    let part = sites[weight].name.strip_prefix(&sites[weight].tensor)?;
    let bias = format!("{layer}.bias{part}");
    sites.iter().enumerate().find(|(_, site)| site.name == bias)
}

/// Reads a tensor as f32.
pub(crate) async fn read(tensor: burn::Tensor<1>) -> Result<Vec<f32>, FileError> {
    let data = tensor.into_data_async().await;
    let data = data.map_err(|e| FileError(e.to_string()))?;
    Ok(data.iter::<f32>().collect())
}
