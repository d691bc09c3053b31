//! Places that are chosen by what a model's scalars are: by magnitude, by a score from
//! gradients, or from a user's mask.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap, HashSet},
};

use apet_plm::{ModelArchitecture, Plm, Site, SiteId};
use apet_record::{
    Budget, Method, Objective, Pool as PoolSpec, RunSpec, Select, SpecError, Stream,
};
use safetensors::{Dtype, SafeTensors};

use crate::{
    budget,
    pool::{Placed, Pool},
};

/// A selection that looks at the model, the data or a file.
#[derive(Debug)]
pub struct Choice<'a> {
    /// How.
    pub select: &'a Select,
    /// How many.
    pub count: u64,
    /// From where.
    pub pool: Pool,
}

impl<'a> Choice<'a> {
    /// What of a spec has to be chosen before theta is made; none where all is drawn.
    ///
    /// # Errors
    /// When the pool does not fit the model, or has fewer scalars than are wanted.
    pub fn of(
        spec: &'a RunSpec,
        architecture: &ModelArchitecture,
    ) -> Result<Option<Self>, SpecError> {
        let mut chosen = spec.method.parts().iter().filter_map(|part| match part {
            Method::Apet(apet_record::Apet {
                count,
                pool,
                select:
                    select @ (Select::Magnitude {}
                    | Select::Gradient { .. }
                    | Select::Snip { .. }
                    | Select::Mask { .. }),
            }) => Some((*count, pool, select)),
            _ => None,
        });
        let Some(first) = chosen.next() else {
            return Ok(None);
        };
        if chosen.next().is_some() {
            return Err(SpecError {
                field: "method.parts".into(),
                problem: "found two selections by values, gradients or a mask, expected one".into(),
            });
        }
        Self::new(first, spec, architecture).map(Some)
    }

    fn new(
        (count, pool, select): (Budget, &PoolSpec, &'a Select),
        spec: &RunSpec,
        architecture: &ModelArchitecture,
    ) -> Result<Self, SpecError> {
        let used = |site: &Site| match spec.objective {
            Objective::ClassHead => architecture.in_classification(site, spec.head.pooling),
            Objective::LabelWords => true,
        };
        let pool = Pool::new(&architecture.sites, used, pool)?;
        let count = budget::count(count, architecture);
        if count > pool.size() {
            return Err(crate::selectors::too_many(
                count,
                pool.size(),
                "the pool has",
            ));
        }
        Ok(Self {
            select,
            count,
            pool,
        })
    }

    /// The scalars of largest magnitude.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn by_magnitude(&self, plm: &Plm) -> Result<Placed, String> {
        let mut best = Best::new(self.count);
        for &(site, _) in self.pool.sites() {
            let data = plm.value(site).into_data_async().await;
            let data = data.map_err(|e| e.to_string())?;
            best.extend(site, data.iter::<f32>().map(f32::abs));
        }
        Ok(best.placed())
    }

    /// The scalars of largest score, given for every scalar of each of the pool's tensors.
    pub fn by_scores(&self, scores: impl IntoIterator<Item = (SiteId, Vec<f32>)>) -> Placed {
        let mut best = Best::new(self.count);
        for (site, scores) in scores {
            best.extend(site, scores);
        }
        best.placed()
    }

    /// Scalars of a mask: a safetensors file whose tensors have the names of sites or of
    /// the checkpoint's tensors, and are BOOL or U8 in the tensor's shape (not 0: in), or
    /// U32 or I64 lists of row-major positions. Where it has more than `count`, they are
    /// drawn from it under the placement seed.
    ///
    /// # Errors
    /// Names what of the file does not fit the model.
    pub fn by_mask(
        &self,
        mask: &[u8],
        architecture: &ModelArchitecture,
        seed: u64,
    ) -> Result<Placed, SpecError> {
        let Select::Mask { mask: name, .. } = self.select else {
            return Ok(Vec::new());
        };
        let wrong = |problem: String| SpecError {
            field: "method.select.mask".into(),
            problem: format!("{name}: {problem}"),
        };
        let file = SafeTensors::deserialize(mask)
            .map_err(|e| wrong(format!("found {e}, expected a safetensors file")))?;
        // What may stand before a name in a checkpoint may stand there, or not.
        let tensors: HashMap<String, _> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| (architecture.bare(&name).to_owned(), view))
            .collect();
        let mut known = HashSet::new();
        let mut placed: Placed = Vec::new();
        for &(id, _) in self.pool.sites() {
            let site = &architecture.sites[id];
            let mut here: Vec<u64> = Vec::new();
            for (tensor, rows) in [(&site.name, None), (&site.tensor, site.rows)] {
                let bare = architecture.bare(tensor);
                let Some(view) = tensors.get(bare) else {
                    continue;
                };
                if !known.insert((bare, id)) {
                    continue;
                }
                let width: usize = site.shape.iter().skip(1).product();
                let mut shape = site.shape.clone();
                if let Some(rows) = rows {
                    shape[0] = shape[0] / rows.count * rows.stride;
                }
                let all = positions(view, &shape).map_err(|p| wrong(format!("{tensor} {p}")))?;
                let own = |position: u64| match rows {
                    None => Some(position),
                    Some(rows) => {
                        let (row, column) = (position as usize / width, position as usize % width);
                        let row = rows.within(row)?;
                        Some((row * width + column) as u64)
                    }
                };
                here.extend(all.into_iter().filter_map(own));
            }
            here.sort_unstable();
            here.dedup();
            if !here.is_empty() {
                placed.push((id, here));
            }
        }
        let used: HashSet<&str> = known.iter().map(|(tensor, _)| *tensor).collect();
        if let Some(stray) = tensors.keys().find(|name| !used.contains(name.as_str())) {
            return Err(wrong(format!(
                "{stray} is no tensor of the pool on {}; widen the pool or drop it from the mask",
                architecture.name
            )));
        }
        let size: u64 = placed.iter().map(|(_, p)| p.len() as u64).sum();
        if self.count > size {
            return Err(wrong(format!(
                "has {size} places in the pool, method.count is {}",
                self.count
            )));
        }
        if self.count < size {
            let drawn = Stream::new("placement", seed).sample(size, self.count);
            let sizes = placed.iter().enumerate();
            let sizes = sizes.map(|(at, (_, places))| (at, places.len() as u64));
            let kept = crate::selectors::split(sizes, &drawn)
                .into_iter()
                .map(|(at, kept)| {
                    let (id, places) = &placed[at];
                    (*id, kept.into_iter().map(|k| places[k as usize]).collect())
                });
            placed = kept.collect();
        }
        Ok(placed)
    }
}

/// The positions that a mask's tensor names, in a tensor of a shape.
fn positions(
    view: &safetensors::tensor::TensorView<'_>,
    shape: &[usize],
) -> Result<Vec<u64>, String> {
    let size: usize = shape.iter().product();
    let listed: Vec<u64> = match view.dtype() {
        Dtype::BOOL | Dtype::U8 => {
            if view.shape() != shape {
                return Err(format!("has shape {:?}, expected {shape:?}", view.shape()));
            }
            let set = view.data().iter().enumerate().filter(|(_, b)| **b != 0);
            return Ok(set.map(|(at, _)| at as u64).collect());
        }
        Dtype::U32 => {
            let words = view.data().chunks_exact(4);
            let word = |b: &[u8]| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            words.map(word).collect()
        }
        Dtype::I64 => {
            let words = view.data().chunks_exact(8);
            let word = |b: &[u8]| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(b);
                // A negative one becomes far too large, and is refused below.
                i64::from_le_bytes(bytes) as u64
            };
            words.map(word).collect()
        }
        other => {
            return Err(format!(
                "is {other:?}, expected BOOL or U8 (a mask), U32 or I64 (positions)"
            ));
        }
    };
    match listed.iter().find(|&&at| at >= size as u64) {
        Some(at) => Err(format!(
            "has position {}, the tensor has {size} scalars",
            *at as i64
        )),
        None => Ok(listed),
    }
}

/// The best of a stream of scores; of equal ones the first.
struct Best {
    count: usize,
    kept: BinaryHeap<Scored>,
}

/// Greater is worse, so that a heap's top is the one to give up.
#[derive(PartialEq)]
struct Scored {
    score: f32,
    site: SiteId,
    position: u64,
}

impl Eq for Scored {}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |s: &Self| (s.site, s.position);
        other
            .score
            .total_cmp(&self.score)
            .then(place(self).cmp(&place(other)))
    }
}

impl Best {
    fn new(count: u64) -> Self {
        Self {
            count: count as usize,
            kept: BinaryHeap::new(),
        }
    }

    fn extend(&mut self, site: SiteId, scores: impl IntoIterator<Item = f32>) {
        for (position, score) in scores.into_iter().enumerate() {
            let scored = Scored {
                // A NaN is never selected.
                score: if score.is_nan() {
                    f32::NEG_INFINITY
                } else {
                    score
                },
                site,
                position: position as u64,
            };
            if self.kept.len() < self.count {
                self.kept.push(scored);
            } else if self.kept.peek().is_some_and(|worst| scored < *worst) {
                self.kept.pop();
                self.kept.push(scored);
            }
        }
    }

    fn placed(self) -> Placed {
        let mut places: Vec<(SiteId, u64)> = self
            .kept
            .into_iter()
            .map(|s| (s.site, s.position))
            .collect();
        places.sort_unstable();
        let mut placed: Placed = Vec::new();
        for (site, position) in places {
            match placed.last_mut() {
                Some((last, positions)) if *last == site => positions.push(position),
                _ => placed.push((site, vec![position])),
            }
        }
        placed
    }
}
