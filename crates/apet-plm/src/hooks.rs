//! Sites and insertion points, where a method may change a model, and the trait of hooks that
//! the forward pass calls there.

use apet_kernels::{Normalization, linear, norm};
use apet_record::{Module, Part, SubLayer};
use burn::{Tensor, tensor::Int};

/// A tensor of a model, or a part of one, by its Hugging Face name. A tensor that is used
/// twice (a tied head) is one site, and its delta acts at every use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its tensor's name, and in brackets the part: `...query_key_value.weight[q]`.
    pub name: String,
    /// Name in the checkpoint: `encoder.layer.0.attention.self.query.weight`.
    pub tensor: String,
    /// Its rows of that tensor. None for all rows.
    pub rows: Option<Rows>,
    /// Shape; a linear weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// Kind of sub-module.
    pub module: Module,
    /// Its role in the block or the model. A bias has that of its layer.
    pub part: Part,
    /// Whether it belongs to cross-attention.
    pub cross: bool,
    /// Index of its block. None outside the blocks. A decoder's blocks follow its encoder's.
    pub layer: Option<usize>,
}

impl Site {
    /// Number of scalars.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no scalars.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a bias, of a linear layer or of a norm.
    pub fn is_bias(&self) -> bool {
        self.tensor.ends_with(".bias")
    }

    /// The linear layer whose weight it is, by name: `...self.query`, `...query_key_value[q]`.
    pub fn linear_layer(&self) -> Option<String> {
        let is_matrix = self.shape.len() == 2 && self.module != Module::Embedding;
        let layer = self.tensor.strip_suffix(".weight").filter(|_| is_matrix)?;
        let part = self.name.strip_prefix(&self.tensor).unwrap_or_default();
        Some(format!("{layer}{part}"))
    }
}

/// A point in the forward pass between two layers, without a tensor, where a method may add a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertionPoint {
    /// `prompt`, or the block's name with `after_attention` or `after_ffn`.
    pub name: String,
    /// Width of the states.
    pub width: usize,
    /// The sub-layer before it. None at the embedded input.
    pub after: Option<SubLayer>,
    /// Index of its block, as a site's.
    pub layer: Option<usize>,
}

/// Index of an insertion point in its model.
pub type InsertionPointId = usize;

/// The insertion point before the embedded input, in every model.
pub const INPUT: InsertionPointId = 0;

/// Rows of a fused tensor: of every `stride` rows, `count` from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// First row of the first group.
    pub start: usize,
    /// Rows of a group.
    pub count: usize,
    /// From one group to the next.
    pub stride: usize,
}

impl Rows {
    /// The row of the fused tensor for row `row` of the part.
    pub fn of(self, row: usize) -> usize {
        row / self.count * self.stride + self.start + row % self.count
    }

    /// The row of the part for row `row` of the fused tensor. None if it belongs to another part.
    pub fn within(self, row: usize) -> Option<usize> {
        let in_group = (row % self.stride).checked_sub(self.start)?;
        (in_group < self.count).then(|| row / self.stride * self.count + in_group)
    }
}

/// Index of a site in its model.
pub type SiteId = usize;

/// A frozen tensor and its site.
#[derive(Clone, Debug)]
pub struct Param<const D: usize> {
    /// Its site.
    pub site: SiteId,
    /// The frozen value, shared and never changed.
    pub value: Tensor<D>,
}

/// A linear layer: y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`.
    pub weight: Param<2>,
    /// b, `[out]`.
    pub bias: Option<Param<1>>,
}

/// LayerNorm or RMSNorm: y = x̂ · scale + bias.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Scale, `[width]`.
    pub scale: Param<1>,
    /// Bias, `[width]`.
    pub bias: Option<Param<1>>,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether the mean is subtracted (LayerNorm) or not (RMSNorm).
    pub centered: bool,
}

impl Norm {
    /// x̂ · scale + bias: x `[tokens, width]`, shape kept.
    pub fn apply(&self, x: Tensor<2>, scale: Tensor<1>, bias: Option<Tensor<1>>) -> Tensor<2> {
        let kind = Normalization {
            epsilon: self.epsilon,
            centered: self.centered,
        };
        norm(x, scale, bias, kind)
    }
}

/// A table of rows looked up by id. A tied head multiplies by it, too.
#[derive(Clone, Debug)]
pub struct Table {
    /// Rows, `[rows, width]`.
    pub rows: Param<2>,
}

/// The operations at a model's sites and insertion points. Each defaults to the behaviour of
/// the frozen model, so an implementation overrides only what it changes.
pub trait LayerHooks {
    /// A linear layer: x `[tokens, in]` to `[tokens, out]`.
    fn linear(&self, layer: &Linear, x: Tensor<2>) -> Tensor<2> {
        let bias = layer.bias.as_ref().map(|bias| bias.value.clone());
        linear(x, layer.weight.value.clone(), bias)
    }

    /// LayerNorm or RMSNorm: x `[tokens, width]`, shape kept.
    fn norm(&self, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        let bias = norm.bias.as_ref().map(|bias| bias.value.clone());
        norm.apply(x, norm.scale.value.clone(), bias)
    }

    /// Looks up rows: ids `[tokens]` to `[tokens, width]`.
    fn embed(&self, table: &Table, ids: Tensor<1, Int>) -> Tensor<2> {
        apet_kernels::embed(table.rows.value.clone(), ids)
    }

    /// Looks up rows that all sequences of a batch share: ids `[n]` to `[parts, n, width]`, each
    /// part for an equal number of sequences, in their order.
    fn embed_shared(&self, table: &Table, ids: Tensor<1, Int>) -> Tensor<3> {
        self.embed(table, ids).unsqueeze()
    }

    /// Multiplies by every row of a table: x `[tokens, width]` to `[tokens, rows]`.
    fn project(&self, table: &Table, x: Tensor<2>) -> Tensor<2> {
        linear(x, table.rows.value.clone(), None)
    }

    /// At an insertion point after a sub-layer: h `[tokens, width]`, shape kept.
    fn plug(&self, _point: InsertionPointId, h: Tensor<2>) -> Tensor<2> {
        h
    }

    /// The number of tokens that [`LayerHooks::concat`] adds at the start of every row.
    fn virtual_tokens(&self, _point: InsertionPointId) -> usize {
        0
    }

    /// At the embedded input: x `[rows, length, width]` to
    /// `[rows, virtual tokens + length, width]`.
    fn concat(&self, _point: InsertionPointId, x: Tensor<3>) -> Tensor<3> {
        x
    }
}

/// Hooks that change nothing: plain inference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frozen;

impl LayerHooks for Frozen {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_fused_tensor_are_disjoint_and_cover_it() {
        // BLOOM: for each head its query, key and value rows.
        let (heads, width) = (3, 4);
        let part = |start| Rows {
            start: start * width,
            count: width,
            stride: 3 * width,
        };
        let rows = [0, 1, 2].map(|p| (0..heads * width).map(move |row| part(p).of(row)));
        let mut all: Vec<usize> = rows.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (0..3 * heads * width).collect::<Vec<_>>());
        assert!((0..12).all(|row| part(2).within(part(2).of(row)) == Some(row)));
        assert_eq!((part(1).within(0), part(1).within(8)), (None, None));
        assert_eq!(part(1).of(0), 4);
        assert_eq!(part(1).of(4), 16);
    }
}
