//! The tap that carries theta into a model's forward pass.

use std::cell::RefCell;
use std::collections::HashMap;

use apet_kernels::{
    SparseIndex, embed, gelu_tanh, linear, linear_with_sparse, sparse_embed, sparse_linear,
};
use apet_plm::{InsertionPointId, LayerHooks, Linear, Norm, Param, SiteId, Table};
use burn::{Tensor, tensor::Int};

use crate::{
    theta::{Leaves, Theta},
    weight::{AdapterPart, AttachPoint, Structure},
};

/// What theta does at the sites and places of a model.
#[derive(Debug, Default)]
pub struct Tuned<'a> {
    sites: HashMap<SiteId, AtSite<'a>>,
    places: HashMap<InsertionPointId, AtPlace>,
    head: Option<(Tensor<2>, &'a Tensor<1>)>,
    /// The constant inputs `[1, cols]` of deltas on vectors, by cols: made once a pass.
    ones: RefCell<HashMap<usize, Tensor<2>>>,
}

/// What theta does at a site.
#[derive(Debug, Default)]
struct AtSite<'a> {
    owned: Option<&'a Tensor<1>>,
    biases: Vec<&'a Tensor<1>>,
    sparse: Vec<(&'a Tensor<1>, &'a SparseIndex)>,
    low_rank: Vec<LowRank>,
    scalars: Vec<Scalars<'a>>,
    scale_input: Vec<&'a Tensor<1>>,
    scale_output: Vec<&'a Tensor<1>>,
}

#[derive(Debug)]
struct LowRank {
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f64,
}

#[derive(Debug)]
struct Scalars<'a> {
    /// A's frozen initial value.
    a: &'a Tensor<2>,
    /// Changes of A's and of B's scalars, where there are any.
    changes: [Option<Tensor<1>>; 2],
    index: &'a [SparseIndex; 2],
    scale: f64,
}

/// What theta does at a place.
#[derive(Debug, Default)]
struct AtPlace {
    prompts: Vec<Tensor<2>>,
    adapters: Vec<Adapter>,
}

#[derive(Debug)]
struct Adapter {
    down: (Tensor<2>, Tensor<1>),
    up: (Tensor<2>, Tensor<1>),
}

impl<'a> Tuned<'a> {
    pub(crate) fn new(theta: &'a Theta, leaves: &'a Leaves) -> Self {
        let mut tap = Self::default();
        // Parts that belong together stand one after another.
        let (mut factor_a, mut head_weight) = (None, None);
        let mut adapter: Vec<&Tensor<1>> = Vec::new();
        for ((number, weight), leaf) in theta.weights().iter().enumerate().zip(&leaves.0) {
            let matrix = || leaf.clone().reshape([weight.shape[0], weight.shape[1]]);
            match weight.at {
                AttachPoint::Head => match &weight.structure {
                    Structure::HeadWeight => head_weight = Some(matrix()),
                    _ => tap.head = head_weight.take().map(|w| (w, leaf)),
                },
                AttachPoint::InsertionPoint(place) => {
                    let at = tap.places.entry(place).or_default();
                    match &weight.structure {
                        Structure::Prompt => at.prompts.push(matrix()),
                        Structure::Adapter(AdapterPart::UpBias) => {
                            if let [down, down_bias, up] = adapter[..] {
                                let bottleneck = down_bias.dims()[0];
                                let width = weight.len();
                                at.adapters.push(Adapter {
                                    down: (
                                        down.clone().reshape([bottleneck, width]),
                                        down_bias.clone(),
                                    ),
                                    up: (up.clone().reshape([width, bottleneck]), leaf.clone()),
                                });
                            }
                            adapter.clear();
                        }
                        _ => adapter.push(leaf),
                    }
                }
                AttachPoint::Site(site) => {
                    let at = tap.sites.entry(site).or_default();
                    match &weight.structure {
                        Structure::Sparse { index, .. } => at.sparse.push((leaf, index)),
                        Structure::Owned => at.owned = Some(leaf),
                        Structure::LowRankA => factor_a = Some(matrix()),
                        Structure::LowRankB { scale } => {
                            if let Some(a) = factor_a.take() {
                                let (b, scale) = (matrix(), *scale);
                                at.low_rank.push(LowRank { a, b, scale });
                            }
                        }
                        Structure::LowRankScalars {
                            scale, a, index, ..
                        } => {
                            let (of_a, all) = (a.len(), weight.len());
                            let part = |from: usize, to: usize| {
                                (from < to).then(|| leaf.clone().slice(from..to))
                            };
                            if let Some(fixed) = theta.fixed(number) {
                                at.scalars.push(Scalars {
                                    a: fixed,
                                    changes: [part(0, of_a), part(of_a, all)],
                                    index,
                                    scale: *scale,
                                });
                            }
                        }
                        Structure::Bias => at.biases.push(leaf),
                        Structure::ScaleInput => at.scale_input.push(leaf),
                        Structure::ScaleOutput => at.scale_output.push(leaf),
                        _ => {}
                    }
                }
            }
        }
        tap
    }

    /// Class scores of pooled states: `[batch, hidden]` to `[batch, classes]`.
    pub fn head(&self, pooled: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some((weight, bias)) => linear(pooled, weight.clone(), Some((*bias).clone())),
            None => pooled,
        }
    }

    /// What is done at a site, if anything is.
    fn at(&self, site: SiteId) -> Option<&AtSite<'a>> {
        self.sites.get(&site)
    }

    /// The tensor used at a site: theta's own, or the frozen one.
    fn tensor<const D: usize>(&self, param: &Param<D>) -> Tensor<D> {
        match self.at(param.site).and_then(|at| at.owned) {
            Some(own) => own.clone().reshape(param.value.dims()),
            None => param.value.clone(),
        }
    }

    /// A bias or a scale with its sparse deltas, which are a column and a diagonal: they act on a
    /// constant input of 1, the same for every token.
    fn vector(&self, param: &Param<1>) -> Tensor<1> {
        let own = self.tensor(param);
        let width = own.dims()[0];
        let Some(at) = self.at(param.site).filter(|at| !at.sparse.is_empty()) else {
            return own;
        };
        let sum = at
            .sparse
            .iter()
            .fold(own.unsqueeze(), |y, (values, index)| {
                let cols = index.dims().cols;
                let mut made = self.ones.borrow_mut();
                let ones = made
                    .entry(cols)
                    .or_insert_with(|| Tensor::ones([1, cols], &param.value.device()));
                sparse_linear(y, ones.clone(), (*values).clone(), index)
            });
        Tensor::<2>::reshape(sum, [width])
    }

    /// The bias of a linear layer, with all that theta adds to it.
    fn bias(&self, layer: &Linear) -> Option<Tensor<1>> {
        let own = layer.bias.as_ref().map(|bias| self.vector(bias));
        let new = self
            .at(layer.weight.site)
            .into_iter()
            .flat_map(|at| &at.biases);
        own.into_iter()
            .chain(new.map(|bias| (*bias).clone()))
            .reduce(|sum, bias| sum + bias)
    }

    /// What theta adds to a layer's output y of x.
    fn add_to_linear(&self, layer: &Linear, x: Tensor<2>, mut y: Tensor<2>) -> Tensor<2> {
        let Some(at) = self.at(layer.weight.site) else {
            return y;
        };
        for LowRank { a, b, scale } in &at.low_rank {
            // On the activation side: x Aᵀ Bᵀ, never a dense B A (design decision 4).
            let narrow = linear(x.clone(), a.clone(), None) * *scale;
            y = y + linear(narrow, b.clone(), None);
        }
        for Scalars {
            a,
            changes: [of_a, of_b],
            index,
            scale,
        } in &at.scalars
        {
            // B is 0 but where it is tuned: without that, nothing is added.
            let Some(of_b) = of_b else { continue };
            let mut narrow = linear(x.clone(), (*a).clone(), None);
            if let Some(of_a) = of_a {
                narrow = sparse_linear(narrow, x.clone(), of_a.clone(), &index[0]);
            }
            y = sparse_linear(y, narrow * *scale, of_b.clone(), &index[1]);
        }
        for (values, index) in at.sparse.iter().skip(1) {
            y = sparse_linear(y, x.clone(), (*values).clone(), index);
        }
        for scale in &at.scale_output {
            y = y * (*scale).clone().unsqueeze();
        }
        y
    }
}

impl LayerHooks for Tuned<'_> {
    fn linear(&self, layer: &Linear, mut x: Tensor<2>) -> Tensor<2> {
        let at = self.at(layer.weight.site);
        for scale in at.into_iter().flat_map(|at| &at.scale_input) {
            x = x * (*scale).clone().unsqueeze();
        }
        let (weight, bias) = (self.tensor(&layer.weight), self.bias(layer));
        // The first sparse delta is one operation with the layer.
        let first = at.and_then(|at| at.sparse.first());
        let y = match first {
            Some((values, index)) => {
                linear_with_sparse(x.clone(), weight, bias, (*values).clone(), index)
            }
            None => linear(x.clone(), weight, bias),
        };
        self.add_to_linear(layer, x, y)
    }

    fn norm(&self, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        let bias = norm.bias.as_ref().map(|bias| self.vector(bias));
        norm.apply(x, self.vector(&norm.scale), bias)
    }

    fn embed(&self, table: &Table, ids: Tensor<1, Int>) -> Tensor<2> {
        let mut y = embed(self.tensor(&table.rows), ids.clone());
        let at = self.at(table.rows.site);
        for (values, index) in at.into_iter().flat_map(|at| &at.sparse) {
            y = sparse_embed(y, (*values).clone(), ids.clone(), index);
        }
        y
    }

    fn project(&self, table: &Table, x: Tensor<2>) -> Tensor<2> {
        let at = self.at(table.rows.site);
        let y = linear(x.clone(), self.tensor(&table.rows), None);
        at.into_iter()
            .flat_map(|at| &at.sparse)
            .fold(y, |y, (values, index)| {
                sparse_linear(y, x.clone(), (*values).clone(), index)
            })
    }

    fn plug(&self, place: InsertionPointId, mut h: Tensor<2>) -> Tensor<2> {
        let at = self.places.get(&place);
        for Adapter { down, up } in at.into_iter().flat_map(|at| &at.adapters) {
            let product = |x: Tensor<2>, (weight, bias): &(Tensor<2>, Tensor<1>)| {
                linear(x, weight.clone(), Some(bias.clone()))
            };
            let narrow = gelu_tanh(product(h.clone(), down));
            h = h + product(narrow, up);
        }
        h
    }

    fn virtual_tokens(&self, place: InsertionPointId) -> usize {
        let at = self.places.get(&place);
        let prompts = at.into_iter().flat_map(|at| &at.prompts);
        prompts.map(|prompt| prompt.dims()[0]).sum()
    }

    fn concat(&self, place: InsertionPointId, x: Tensor<3>) -> Tensor<3> {
        let [rows, _, width] = x.dims();
        let at = self.places.get(&place);
        let prompts = at.into_iter().flat_map(|at| &at.prompts);
        let each = prompts.map(|prompt| {
            let tokens = prompt.dims()[0];
            let one = prompt.clone().reshape([1, tokens, width]);
            one.expand([rows, tokens, width])
        });
        Tensor::cat(each.chain([x]).collect(), 1)
    }
}
