//! What the paths for burn-flex share: tensors as slices, and loops over rows on all cores.

use burn::tensor::DType;
use burn_backend::TensorMetadata;
use burn_flex::FlexTensor;

/// A contiguous f32 tensor that can be read as a slice.
pub(crate) struct Floats(FlexTensor);

impl Floats {
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }
    pub(crate) fn get(&self) -> &[f32] {
        self.0.as_slice().unwrap_or(&[])
    }
}

/// A contiguous i32 tensor that can be read as a slice.
pub(crate) struct Ints(FlexTensor);

impl Ints {
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        debug_assert_eq!(tensor.dtype(), DType::I32, "ids and index are i32");
        Self(tensor.to_contiguous())
    }
    pub(crate) fn get(&self) -> &[i32] {
        self.0.as_slice().unwrap_or(&[])
    }
}

/// Changes a tensor's rows of `width` in place (in a copy, where it is shared).
pub(crate) fn map_rows(
    tensor: FlexTensor,
    width: usize,
    change: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> FlexTensor {
    let shape = tensor.shape();
    // A view into a larger buffer is copied, so that the whole buffer is the tensor.
    let mut tensor = tensor.to_contiguous();
    if tensor.bytes().len() != shape.num_elements() * size_of::<f32>() {
        tensor = FlexTensor::from_data(tensor.into_data());
    }
    let rows = tensor.storage_mut::<f32>();
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        rows.par_chunks_exact_mut(width)
            .enumerate()
            .with_min_len(16)
            .for_each(|(i, row)| change(i, row));
    }
    #[cfg(target_arch = "wasm32")]
    rows.chunks_exact_mut(width)
        .enumerate()
        .for_each(|(i, row)| change(i, row));
    tensor
}
