//! Several thetas against one base in one pass: their batches stand one below the other, the
//! base's products are made once for all rows, and each theta acts on its own.
//!
//! Rows of theta k are the k-th of K equal parts of every state. What all thetas have alike
//! (low-rank pairs, biases, scales, adapters, prompts, whole tensors) is multiplied as one
//! batched product; sparse deltas of a site become one delta on states laid side by side, a
//! block for each theta, so their places may differ.

use std::collections::HashMap;

use apet_kernels::{SparseIndex, embed, gelu_tanh, linear, sparse_embed, sparse_linear};
use apet_plm::{
    InsertionPointId, LayerHooks, Linear, ModelArchitecture, Norm, Param, Site, SiteId, Table,
};
use apet_record::Part;
use burn::{
    Tensor,
    tensor::{Device, Int},
};

use crate::{
    file::FileError,
    theta::{Leaves, Theta},
    weight::{AdapterPart, AttachPoint, Structure, Weight},
};

/// What several thetas have in common, made once.
#[derive(Debug)]
pub struct Many {
    count: usize,
    /// The sparse deltas of each site.
    sparse: HashMap<SiteId, Vec<Sparse>>,
    /// The weights that all have alike: by number in the first theta, their numbers in each.
    alike: Vec<Vec<usize>>,
}

/// The sparse deltas of a site, side by side.
#[derive(Debug)]
struct Sparse {
    /// The weight in each theta that has one there, in the order of the values.
    weights: Vec<(usize, usize)>,
    /// As a delta of a linear layer on states side by side.
    beside: SparseIndex,
    /// As a delta of a table whose rows stand one below the other.
    below: Option<SparseIndex>,
}

/// The tap that carries several thetas into one forward pass.
#[derive(Debug)]
pub struct ManyTuned<'a> {
    many: &'a Many,
    sites: HashMap<SiteId, AtSite>,
    sparse: HashMap<SiteId, Vec<(Tensor<1>, &'a Sparse)>>,
    places: HashMap<InsertionPointId, AtPlace>,
    /// Weight `[K, hidden, classes]` and bias `[K, 1, classes]`.
    head: Option<(Tensor<3>, Tensor<3>)>,
}

/// Stacked weights of a site, each `[K, ..]`.
#[derive(Debug, Default)]
struct AtSite {
    owned: Option<Tensor<2>>,
    biases: Vec<Tensor<3>>,
    /// Aᵀ `[K, in, rank]`, Bᵀ `[K, rank, out]`, scale.
    low_rank: Vec<(Tensor<3>, Tensor<3>, f64)>,
    scale_input: Vec<Tensor<3>>,
    scale_output: Vec<Tensor<3>>,
}

#[derive(Debug, Default)]
struct AtPlace {
    /// `[K, 1, tokens, width]`.
    prompts: Vec<Tensor<4>>,
    adapters: Vec<Adapter>,
}

/// Transposed weights and biases, `[K, ..]`.
#[derive(Debug)]
struct Adapter {
    down: (Tensor<3>, Tensor<3>),
    up: (Tensor<3>, Tensor<3>),
}

impl Many {
    /// Finds what `thetas` have alike; places are kept on `device`.
    ///
    /// # Errors
    /// Names the first weight that one has and another does not have in the same shape, or
    /// that can not be trained together.
    pub fn new(
        thetas: &[&Theta],
        architecture: &ModelArchitecture,
        device: &Device,
    ) -> Result<Self, FileError> {
        let Some(first) = thetas.first() else {
            return Err(FileError("found no theta, expected at least one".into()));
        };
        let is_sparse = |w: &Weight| matches!(w.structure, Structure::Sparse { .. });
        let dense = |theta: &Theta| -> Vec<usize> {
            let weights = theta.weights().iter().enumerate();
            let dense = weights.filter(|(_, weight)| !is_sparse(weight));
            dense.map(|(number, _)| number).collect()
        };
        let numbers: Vec<Vec<usize>> = thetas.iter().map(|theta| dense(theta)).collect();
        for (theta, numbers_of) in thetas.iter().zip(&numbers) {
            let weights = |t: &Theta, n: &[usize]| -> Vec<_> {
                let weight =
                    |&n: &usize| (t.weights()[n].name.clone(), t.weights()[n].shape.clone());
                n.iter().map(weight).collect()
            };
            let (own, expected) = (weights(theta, numbers_of), weights(first, &numbers[0]));
            if own != expected {
                let differs = own.iter().zip(&expected).find(|(a, b)| a != b);
                let what = differs.map_or("their number", |(a, _)| &a.0);
                return Err(FileError(format!(
                    "{what}: differs between the thetas; only thetas of like shape are trained together"
                )));
            }
        }
        for &number in &numbers[0] {
            let weight = &first.weights()[number];
            if let Structure::LowRankScalars { .. } = weight.structure {
                return Err(FileError(format!(
                    "{}: scalars of factors are not trained together; run them one by one",
                    weight.name
                )));
            }
        }
        let mut sparse: HashMap<SiteId, Vec<Sparse>> = HashMap::new();
        for id in 0..architecture.sites.len() {
            // The first of each theta at the site, then the second, ...
            let at = |theta: &Theta| -> Vec<usize> {
                let weights = theta.weights().iter().enumerate();
                let here = weights.filter(|(_, w)| is_sparse(w) && w.at == AttachPoint::Site(id));
                here.map(|(number, _)| number).collect()
            };
            let all: Vec<Vec<usize>> = thetas.iter().map(|theta| at(theta)).collect();
            let most = all.iter().map(Vec::len).max().unwrap_or(0);
            for turn in 0..most {
                let weights: Vec<(usize, usize)> = all
                    .iter()
                    .enumerate()
                    .filter_map(|(k, numbers)| Some((k, *numbers.get(turn)?)))
                    .collect();
                let places = weights.iter().map(|&(k, number)| {
                    let [places, _] = thetas[k].weights()[number].structure.places();
                    (k as u64, places)
                });
                let places: Vec<(u64, &[u64])> = places.collect();
                let site = &architecture.sites[id];
                sparse.entry(id).or_default().push(Sparse {
                    beside: beside(site, &places, thetas.len(), device),
                    below: (site.part == Part::Embedding)
                        .then(|| below(site, &places, thetas.len(), device)),
                    weights,
                });
            }
        }
        let alike = (0..numbers[0].len())
            .map(|at| numbers.iter().map(|of| of[at]).collect())
            .collect();
        Ok(Self {
            count: thetas.len(),
            sparse,
            alike,
        })
    }

    /// The tap that carries every theta's leaves into one forward pass.
    pub fn tap<'a>(&'a self, thetas: &[&Theta], leaves: &[Leaves]) -> ManyTuned<'a> {
        let sparse = self.sparse.iter().map(|(&site, of_site)| {
            let values = |of: &'a Sparse| {
                let parts = of
                    .weights
                    .iter()
                    .map(|&(k, number)| leaves[k].0[number].clone());
                (Tensor::cat(parts.collect(), 0), of)
            };
            (site, of_site.iter().map(values).collect())
        });
        let mut tap = ManyTuned {
            many: self,
            sites: HashMap::new(),
            sparse: sparse.collect(),
            places: HashMap::new(),
            head: None,
        };
        // Parts that belong together stand one after another.
        let (mut factor_a, mut head_weight) = (None, None);
        let mut adapter: Vec<Tensor<3>> = Vec::new();
        for numbers in &self.alike {
            let weight = &thetas[0].weights()[numbers[0]];
            let stacked = |shape: [usize; 2]| -> Tensor<3> {
                let one = |(k, &number): (usize, &usize)| {
                    leaves[k].0[number].clone().reshape([1, shape[0], shape[1]])
                };
                Tensor::cat(numbers.iter().enumerate().map(one).collect(), 0)
            };
            let matrix = || stacked([weight.shape[0], weight.shape[1]]);
            let row = || stacked([1, weight.len()]);
            let flipped = || matrix().swap_dims(1, 2);
            match weight.at {
                AttachPoint::Head => match weight.structure {
                    Structure::HeadWeight => head_weight = Some(flipped()),
                    _ => tap.head = head_weight.take().map(|w| (w, row())),
                },
                AttachPoint::InsertionPoint(place) => {
                    let at = tap.places.entry(place).or_default();
                    match &weight.structure {
                        Structure::Prompt => {
                            let [count, tokens, width] = matrix().dims();
                            at.prompts.push(matrix().reshape([count, 1, tokens, width]));
                        }
                        Structure::Adapter(AdapterPart::DownWeight | AdapterPart::UpWeight) => {
                            adapter.push(flipped());
                        }
                        Structure::Adapter(AdapterPart::DownBias) => adapter.push(row()),
                        _ => {
                            if let [down, down_bias, up] = &adapter[..] {
                                at.adapters.push(Adapter {
                                    down: (down.clone(), down_bias.clone()),
                                    up: (up.clone(), row()),
                                });
                            }
                            adapter.clear();
                        }
                    }
                }
                AttachPoint::Site(site) => {
                    let at = tap.sites.entry(site).or_default();
                    match weight.structure {
                        Structure::Owned => {
                            let [count, _, size] = row().dims();
                            at.owned = Some(row().reshape([count, size]));
                        }
                        Structure::LowRankA => factor_a = Some(flipped()),
                        Structure::LowRankB { scale } => {
                            if let Some(a) = factor_a.take() {
                                at.low_rank.push((a, flipped(), scale));
                            }
                        }
                        Structure::Bias => at.biases.push(row()),
                        Structure::ScaleInput => at.scale_input.push(row()),
                        Structure::ScaleOutput => at.scale_output.push(row()),
                        _ => {}
                    }
                }
            }
        }
        tap
    }
}

/// Positions of every theta's delta at a site, in blocks side by side: theta k acts on the
/// k-th part of the columns and adds to the k-th part of the rows.
fn beside(site: &Site, places: &[(u64, &[u64])], count: usize, device: &Device) -> SparseIndex {
    let (rows, columns) = match site.shape[..] {
        [rows, columns] => (rows, columns),
        _ if site.is_bias() => (site.len(), 1),
        // A scale is a diagonal.
        _ => (site.len(), site.len()),
    };
    let is_scale = site.shape.len() == 1 && !site.is_bias();
    let (height, width) = (rows as u64, columns as u64);
    let position = |k: u64, place: u64| {
        let (row, column) = match is_scale {
            true => (place, place),
            false => (place / width, place % width),
        };
        (k * height + row) * (count as u64 * width) + k * width + column
    };
    let all = places
        .iter()
        .flat_map(|&(k, of)| of.iter().map(move |&place| (k, place)));
    let all: Vec<u64> = all.map(|(k, place)| position(k, place)).collect();
    SparseIndex::new(count * rows, count * columns, &all, device)
}

/// The same for a table that is looked up: the k-th copy of its rows is theta k's.
fn below(site: &Site, places: &[(u64, &[u64])], count: usize, device: &Device) -> SparseIndex {
    let size = site.len() as u64;
    let all = places
        .iter()
        .flat_map(|&(k, of)| of.iter().map(move |place| k * size + place));
    let all: Vec<u64> = all.collect();
    SparseIndex::new(count * site.shape[0], site.shape[1], &all, device)
}

impl ManyTuned<'_> {
    /// Class scores of pooled states: `[K * rows, hidden]` to `[K * rows, classes]`.
    pub fn head(&self, pooled: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some((weight, bias)) => {
                self.flat(self.parts(pooled).matmul(weight.clone()) + bias.clone())
            }
            None => pooled,
        }
    }

    /// Every theta's rows apart: `[K * rows, width]` to `[K, rows, width]`.
    fn parts(&self, x: Tensor<2>) -> Tensor<3> {
        let [rows, width] = x.dims();
        x.reshape([self.many.count, rows / self.many.count, width])
    }

    fn flat(&self, x: Tensor<3>) -> Tensor<2> {
        let [count, rows, width] = x.dims();
        x.reshape([count * rows, width])
    }

    /// `[K * rows, width]` to `[rows, K * width]`.
    fn beside(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.parts(x).swap_dims(0, 1);
        let [rows, count, width] = x.dims();
        x.reshape([rows, count * width])
    }

    /// And back.
    fn apart(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let count = self.many.count;
        let x = x.reshape([rows, count, width / count]).swap_dims(0, 1);
        x.reshape([count * rows, width / count])
    }

    fn owned(&self, site: SiteId) -> Option<Tensor<2>> {
        self.sites.get(&site).and_then(|at| at.owned.clone())
    }

    /// Adds a site's sparse deltas, acting on `x`.
    fn add(&self, site: SiteId, mut y: Tensor<2>, x: impl Fn() -> Tensor<2>) -> Tensor<2> {
        for (values, sparse) in self.sparse.get(&site).into_iter().flatten() {
            let beside = self.beside(y);
            let x = self.beside(x());
            y = self.apart(sparse_linear(beside, x, values.clone(), &sparse.beside));
        }
        y
    }

    /// The sparse deltas of a vector, each theta's own, `[K, 1, width]`: the same for every
    /// token, so they are put together once.
    fn vectors(&self, param: &Param<1>) -> Option<Tensor<3>> {
        let of_site = self.sparse.get(&param.site)?;
        let (count, device) = (self.many.count, param.value.device());
        let width = param.value.dims()[0];
        let mut sum = Tensor::<2>::zeros([1, count * width], &device);
        for (values, sparse) in of_site {
            let ones = Tensor::<2>::ones([1, sparse.beside.dims().cols], &device);
            sum = sparse_linear(sum, ones, values.clone(), &sparse.beside);
        }
        Some(sum.reshape([count, 1, width]))
    }

    fn add_bias(&self, bias: &Param<1>, y: Tensor<2>) -> Tensor<2> {
        let y = match self.owned(bias.site) {
            Some(own) => {
                let [count, width] = own.dims();
                self.flat(self.parts(y) + own.reshape([count, 1, width]))
            }
            None => y + bias.value.clone().unsqueeze(),
        };
        match self.vectors(bias) {
            Some(deltas) => self.flat(self.parts(y) + deltas),
            None => y,
        }
    }

    /// x Wᵀ with the frozen weight, or with each theta's own.
    fn product(&self, param: &Param<2>, x: Tensor<2>) -> Tensor<2> {
        match self.owned(param.site) {
            Some(own) => {
                let [rows, columns] = param.value.dims();
                let own = own.reshape([self.many.count, rows, columns]);
                self.flat(self.parts(x).matmul(own.swap_dims(1, 2)))
            }
            None => linear(x, param.value.clone(), None),
        }
    }
}

impl LayerHooks for ManyTuned<'_> {
    fn linear(&self, layer: &Linear, mut x: Tensor<2>) -> Tensor<2> {
        let at = self.sites.get(&layer.weight.site);
        for scale in at.into_iter().flat_map(|at| &at.scale_input) {
            x = self.flat(self.parts(x) * scale.clone());
        }
        let mut y = self.product(&layer.weight, x.clone());
        if let Some(bias) = &layer.bias {
            y = self.add_bias(bias, y);
        }
        for bias in at.into_iter().flat_map(|at| &at.biases) {
            y = self.flat(self.parts(y) + bias.clone());
        }
        for (a, b, scale) in at.into_iter().flat_map(|at| &at.low_rank) {
            let narrow = self.parts(x.clone()).matmul(a.clone());
            y = y + self.flat(narrow.matmul(b.clone()) * *scale);
        }
        y = self.add(layer.weight.site, y, || x.clone());
        for scale in at.into_iter().flat_map(|at| &at.scale_output) {
            y = self.flat(self.parts(y) * scale.clone());
        }
        y
    }

    fn norm(&self, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        let own = self.owned(norm.scale.site).map(|own| {
            let [count, width] = own.dims();
            own.reshape([count, 1, width])
        });
        let frozen = || norm.scale.value.clone();
        let scales = match (own, self.vectors(&norm.scale)) {
            (None, None) => None,
            (Some(own), None) => Some(own),
            (own, Some(deltas)) => Some(own.unwrap_or_else(|| frozen().unsqueeze()) + deltas),
        };
        let y = match scales {
            Some(scales) => {
                let normalized = norm.apply(x, frozen().ones_like(), None);
                self.flat(self.parts(normalized) * scales)
            }
            None => norm.apply(x, frozen(), None),
        };
        match &norm.bias {
            Some(bias) => self.add_bias(bias, y),
            None => y,
        }
    }

    fn embed(&self, table: &Table, ids: Tensor<1, Int>) -> Tensor<2> {
        let site = table.rows.site;
        let [rows, width] = table.rows.value.dims();
        // Theta k's copy of the table is the k-th.
        let own_ids = || {
            let count = self.many.count;
            let each = ids.dims()[0] / count;
            let steps = Tensor::<1, Int>::arange(0..count as i64, &ids.device()) * rows as i64;
            let offsets = steps
                .cast(ids.dtype())
                .reshape([count, 1])
                .expand([count, each]);
            ids.clone() + offsets.reshape([count * each])
        };
        let mut y = match self.owned(site) {
            Some(own) => embed(own.reshape([self.many.count * rows, width]), own_ids()),
            None => embed(table.rows.value.clone(), ids.clone()),
        };
        for (values, sparse) in self.sparse.get(&site).into_iter().flatten() {
            if let Some(below) = &sparse.below {
                y = sparse_embed(y, values.clone(), own_ids(), below);
            }
        }
        y
    }

    fn embed_shared(&self, table: &Table, ids: Tensor<1, Int>) -> Tensor<3> {
        let site = table.rows.site;
        let width = table.rows.value.dims()[1];
        if self.owned(site).is_none() && !self.sparse.contains_key(&site) {
            return self.embed(table, ids).unsqueeze();
        }
        let (count, each) = (self.many.count, ids.dims()[0]);
        let repeated = ids
            .reshape([1, each])
            .expand([count, each])
            .reshape([count * each]);
        self.embed(table, repeated).reshape([count, each, width])
    }

    fn project(&self, table: &Table, x: Tensor<2>) -> Tensor<2> {
        let y = self.product(&table.rows, x.clone());
        self.add(table.rows.site, y, || x.clone())
    }

    fn plug(&self, place: InsertionPointId, mut h: Tensor<2>) -> Tensor<2> {
        let at = self.places.get(&place);
        for Adapter { down, up } in at.into_iter().flat_map(|at| &at.adapters) {
            let product = |x: Tensor<3>, (weight, bias): &(Tensor<3>, Tensor<3>)| {
                x.matmul(weight.clone()) + bias.clone()
            };
            let narrow = product(self.parts(h.clone()), down);
            let narrow = gelu_tanh(self.flat(narrow));
            h = h + self.flat(product(self.parts(narrow), up));
        }
        h
    }

    fn virtual_tokens(&self, place: InsertionPointId) -> usize {
        let at = self.places.get(&place);
        let prompts = at.into_iter().flat_map(|at| &at.prompts);
        prompts.map(|prompt| prompt.dims()[2]).sum()
    }

    fn concat(&self, place: InsertionPointId, x: Tensor<3>) -> Tensor<3> {
        let [rows, length, width] = x.dims();
        let count = self.many.count;
        let each = rows / count;
        let at = self.places.get(&place);
        let prompts = at.into_iter().flat_map(|at| &at.prompts);
        let prompts = prompts.map(|prompt| {
            let tokens = prompt.dims()[2];
            prompt.clone().expand([count, each, tokens, width])
        });
        let all = prompts.chain([x.reshape([count, each, length, width])]);
        let joined = Tensor::cat(all.collect(), 2);
        let length = joined.dims()[2];
        joined.reshape([rows, length, width])
    }
}
