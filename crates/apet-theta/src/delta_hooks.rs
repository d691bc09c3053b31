//! The hooks that carry theta into a model's forward pass.

use std::cell::RefCell;
use std::collections::HashMap;

use apet_kernels::{embed, linear, linear_with_sparse, sparse_embed, sparse_linear};
use apet_plm::{InsertionPointId, LayerHooks, Linear, Norm, Param, SiteId, Table};
use burn::{Tensor, tensor::Int};

use crate::{
    delta::{Attached, DeltaTensors},
    deltas::rank,
    hooks::PointHooks,
    weight::AttachPoint,
};

/// What theta does at the sites and insertion points of a model.
#[derive(Debug, Default)]
pub struct DeltaHooks<'a> {
    points: HashMap<AttachPoint, PointHooks<'a>>,
    /// The constant inputs `[1, cols]` of deltas on vectors, by cols: made once a pass.
    ones: RefCell<HashMap<usize, Tensor<2>>>,
}

impl<'a> DeltaHooks<'a> {
    /// The hooks of deltas, each with its tensors.
    pub(crate) fn new(mut deltas: Vec<(&'a Attached, DeltaTensors<'a>)>) -> Self {
        let mut hooks = Self::default();
        // At one point, deltas of different kinds act in the order of the registry.
        deltas.sort_by_key(|(attached, _)| rank(attached.delta.kind()));
        for (attached, tensors) in deltas {
            let point = hooks.points.entry(attached.at).or_default();
            attached.delta.hook(&tensors, point);
        }
        hooks
    }

    /// Class scores of pooled states: `[batch, hidden]` to `[batch, classes]`.
    pub fn head(&self, pooled: Tensor<2>) -> Tensor<2> {
        let head = self.points.get(&AttachPoint::Head);
        match head.and_then(|point| point.head.as_ref()) {
            Some(head) => head(pooled),
            None => pooled,
        }
    }

    /// What is done at a site, if anything is.
    fn at(&self, site: SiteId) -> Option<&PointHooks<'a>> {
        self.points.get(&AttachPoint::Site(site))
    }

    fn at_insertion_point(&self, point: InsertionPointId) -> Option<&PointHooks<'a>> {
        self.points.get(&AttachPoint::InsertionPoint(point))
    }

    /// The tensor used at a site: theta's own, or the frozen one.
    fn tensor<const D: usize>(&self, param: &Param<D>) -> Tensor<D> {
        match self.at(param.site).and_then(|at| at.tensor) {
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
}

impl LayerHooks for DeltaHooks<'_> {
    fn linear(&self, layer: &Linear, mut x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.tensor(&layer.weight), self.bias(layer));
        let Some(at) = self.at(layer.weight.site) else {
            return linear(x, weight, bias);
        };
        for input in &at.inputs {
            x = input(x);
        }
        let (mut y, mut added) = (None, 0);
        if let Some(product) = &at.product {
            let product = product(x.clone(), weight.clone());
            y = Some(match bias.clone() {
                Some(bias) => product + bias.unsqueeze(),
                None => product,
            });
        } else if let Some((values, index)) = at.sparse.first() {
            // The first sparse delta is one operation with the layer.
            added = 1;
            let (x, values) = (x.clone(), (*values).clone());
            y = Some(linear_with_sparse(
                x,
                weight.clone(),
                bias.clone(),
                values,
                index,
            ));
        }
        let mut y = y.unwrap_or_else(|| linear(x.clone(), weight, bias));
        for addition in &at.additions {
            y = addition(&x, y);
        }
        for (values, index) in at.sparse.iter().skip(added) {
            y = sparse_linear(y, x.clone(), (*values).clone(), index);
        }
        for output in &at.outputs {
            y = output(y);
        }
        y
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

    fn plug(&self, point: InsertionPointId, h: Tensor<2>) -> Tensor<2> {
        let at = self.at_insertion_point(point);
        let plugs = at.into_iter().flat_map(|at| &at.plugs);
        plugs.fold(h, |h, plug| plug(h))
    }

    fn virtual_tokens(&self, point: InsertionPointId) -> usize {
        let at = self.at_insertion_point(point);
        let prompts = at.into_iter().flat_map(|at| &at.prompts);
        prompts.map(|prompt| prompt.dims()[0]).sum()
    }

    fn concat(&self, point: InsertionPointId, x: Tensor<3>) -> Tensor<3> {
        let [rows, _, width] = x.dims();
        let at = self.at_insertion_point(point);
        let prompts = at.into_iter().flat_map(|at| &at.prompts);
        let each = prompts.map(|prompt| {
            let tokens = prompt.dims()[0];
            let one = prompt.clone().reshape([1, tokens, width]);
            one.expand([rows, tokens, width])
        });
        Tensor::cat(each.chain([x]).collect(), 1)
    }
}
