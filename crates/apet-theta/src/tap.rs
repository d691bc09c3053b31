//! The tap that carries theta into a model's forward pass.

use std::collections::HashMap;

use apet_kernels::{SparseIndex, embed, linear, sparse_embed, sparse_linear};
use apet_plm::{Linear, Norm, Param, SiteId, Table, Tap};
use burn::{Tensor, tensor::Int};

use crate::theta::{Leaves, Structure, Theta};

/// What theta does at the sites of a model.
#[derive(Debug)]
pub struct Tuned<'a> {
    owned: HashMap<SiteId, &'a Tensor<1>>,
    sparse: HashMap<SiteId, (&'a Tensor<1>, &'a SparseIndex)>,
    low_rank: HashMap<SiteId, LowRank>,
    head: Option<(Tensor<2>, &'a Tensor<1>)>,
}

#[derive(Debug)]
struct LowRank {
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f64,
}

impl<'a> Tuned<'a> {
    pub(crate) fn new(theta: &'a Theta, leaves: &'a Leaves) -> Self {
        let mut tap = Self {
            owned: HashMap::new(),
            sparse: HashMap::new(),
            low_rank: HashMap::new(),
            head: None,
        };
        let mut factor_a = None;
        let mut head_weight = None;
        for (weight, leaf) in theta.weights().iter().zip(&leaves.0) {
            let matrix = || leaf.clone().reshape([weight.shape[0], weight.shape[1]]);
            match (&weight.structure, weight.site) {
                (Structure::Sparse { index, .. }, Some(site)) => {
                    tap.sparse.insert(site, (leaf, index));
                }
                (Structure::Owned, Some(site)) => {
                    tap.owned.insert(site, leaf);
                }
                (Structure::LowRankA, _) => factor_a = Some(matrix()),
                (Structure::LowRankB { scale }, Some(site)) => {
                    // A always stands right before its B.
                    if let Some(a) = factor_a.take() {
                        let (b, scale) = (matrix(), *scale);
                        tap.low_rank.insert(site, LowRank { a, b, scale });
                    }
                }
                (Structure::HeadWeight, _) => head_weight = Some(matrix()),
                (Structure::HeadBias, _) => tap.head = head_weight.take().map(|w| (w, leaf)),
                _ => {}
            }
        }
        tap
    }

    /// Class scores of pooled states: `[batch, hidden]` to `[batch, classes]`.
    pub fn head(&self, pooled: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some((weight, bias)) => {
                pooled.matmul(weight.clone().transpose()) + (*bias).clone().unsqueeze()
            }
            None => pooled,
        }
    }

    /// The tensor used at a site: theta's own, or the frozen one.
    fn tensor<const D: usize>(&self, param: &Param<D>) -> Tensor<D> {
        match self.owned.get(&param.site) {
            Some(own) => (*own).clone().reshape(param.value.dims()),
            None => param.value.clone(),
        }
    }

    /// Adds a site's sparse delta, if it has one, acting on `x`.
    fn add(&self, site: SiteId, y: Tensor<2>, x: impl FnOnce() -> Tensor<2>) -> Tensor<2> {
        match self.sparse.get(&site) {
            Some((values, index)) => sparse_linear(y, x(), (*values).clone(), index),
            None => y,
        }
    }

    /// Adds a bias and its sparse delta: a column on a constant input of 1.
    fn add_bias(&self, bias: &Param<1>, y: Tensor<2>) -> Tensor<2> {
        let y = y + self.tensor(bias).unsqueeze();
        let ones = [y.dims()[0], 1];
        let device = bias.value.device();
        self.add(bias.site, y, || Tensor::ones(ones, &device))
    }
}

impl Tap for Tuned<'_> {
    fn linear(&self, layer: &Linear, x: Tensor<2>) -> Tensor<2> {
        let mut y = linear(x.clone(), self.tensor(&layer.weight));
        if let Some(bias) = &layer.bias {
            y = self.add_bias(bias, y);
        }
        let site = layer.weight.site;
        if let Some(LowRank { a, b, scale }) = self.low_rank.get(&site) {
            // On the activation side: x Aᵀ Bᵀ, never a dense B A (design decision 4).
            let narrow = x.clone().matmul(a.clone().transpose());
            y = y + narrow.matmul(b.clone().transpose()) * *scale;
        }
        self.add(site, y, || x)
    }

    fn norm(&self, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        let normalized = norm.normalize(x);
        let mut y = normalized.clone() * self.tensor(&norm.scale).unsqueeze();
        if let Some(bias) = &norm.bias {
            y = self.add_bias(bias, y);
        }
        self.add(norm.scale.site, y, || normalized)
    }

    fn embed(&self, table: &Table, ids: Tensor<1, Int>) -> Tensor<2> {
        let y = embed(self.tensor(&table.rows), ids.clone());
        match self.sparse.get(&table.rows.site) {
            Some((values, index)) => sparse_embed(y, (*values).clone(), ids, index),
            None => y,
        }
    }

    fn project(&self, table: &Table, x: Tensor<2>) -> Tensor<2> {
        let y = linear(x.clone(), self.tensor(&table.rows));
        self.add(table.rows.site, y, || x)
    }
}
