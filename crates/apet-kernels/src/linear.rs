//! Products with frozen weights, which may be stored in half precision: what goes in
//! and comes out is f32.

use burn::{
    Tensor,
    tensor::{DType, Int},
};

/// x Wᵀ: x `[tokens, in]` f32, weight `[out, in]` f32, f16 or bf16; result `[tokens, out]` f32.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let dtype = weight.dtype();
    if dtype == DType::F32 {
        return x.matmul(weight.transpose());
    }
    x.cast(dtype).matmul(weight.transpose()).cast(DType::F32)
}

/// Rows of a table: table `[rows, width]` f32, f16 or bf16, ids `[tokens]`; result
/// `[tokens, width]` f32.
pub fn embed(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    let rows = table.select(0, ids);
    if rows.dtype() == DType::F32 {
        return rows;
    }
    rows.cast(DType::F32)
}
