//! What a delta is in an adapter of peft.

/// A delta's tensors as a format of peft holds them, for one site.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The format's id, as in [`PeftFormat`](crate::PeftFormat).
    pub format: &'static str,
    /// What it is to the format, if the format tells deltas apart: `input`.
    pub part: &'static str,
    /// Tensors with their shapes, in the format's order.
    pub tensors: Vec<(Vec<usize>, Vec<f32>)>,
    /// Row-major positions of sparse values in the site's tensor.
    pub positions: Vec<u64>,
    /// alpha / rank.
    pub scale: f64,
}
