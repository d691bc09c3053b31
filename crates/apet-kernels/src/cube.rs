//! Shared code of the CubeCL kernels and the shaders.

use std::sync::atomic::{AtomicU8, Ordering};

use burn::tensor::{DType, Shape};
use burn_backend::TensorMetadata;
use burn_cubecl::{
    kernel::into_contiguous,
    ops::numeric::empty_device_contiguous_dtype,
    template::{KernelSource, SourceKernel},
    tensor::CubeTensor,
};
use cubecl::{
    calculate_cube_count_elemwise,
    prelude::*,
    server::{KernelArguments, MetadataBindingInfo},
};

/// The language of kernels that exist in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelLanguage {
    /// WGSL where CubeCL compiles to WGSL, CubeCL elsewhere.
    Auto,
    /// CubeCL everywhere; for tests and comparisons.
    CubeCl,
}

static LANGUAGE: AtomicU8 = AtomicU8::new(0);

/// Selects the language of the kernels for the whole process.
pub fn set_kernel_language(language: KernelLanguage) {
    LANGUAGE.store(language as u8, Ordering::Relaxed);
}

/// Whether a tensor's device can run the shaders of `shaders/`.
pub(crate) fn supports_wgsl(tensor: &CubeTensor) -> bool {
    LANGUAGE.load(Ordering::Relaxed) == KernelLanguage::Auto as u8
        && tensor.client.name() == "wgpu<wgsl>"
}

/// Launches a shader on buffers, the last of which is written, followed by its parameters.
pub(crate) fn launch_wgsl(
    shader: impl KernelSource,
    dim: CubeDim,
    count: CubeCount,
    buffers: &[&CubeTensor],
    params: &[u32],
) {
    let client = buffers[0].client.clone();
    // Passed in pairs as CubeCL's own launch metadata: equal ones are sent once, and no launch waits for them.
    let pair =
        |pair: &[u32]| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32;
    let params = params.chunks(2).map(pair).collect();
    let arguments = buffers
        .iter()
        .fold(KernelArguments::new(), |arguments, buffer| {
            arguments.with_buffer(buffer.handle.clone().binding())
        })
        .with_info(MetadataBindingInfo::custom(params));
    client.launch(Box::new(SourceKernel::new(shader, dim)), count, arguments);
}

/// An uninitialised f32 tensor of a shape, on another tensor's device.
pub(crate) fn empty(device_of: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    let (client, device) = (device_of.client.clone(), device_of.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), DType::F32)
}

/// An uninitialised f32 tensor with another tensor's shape and device.
pub(crate) fn empty_like(tensor: &CubeTensor) -> CubeTensor {
    empty(tensor, tensor.shape())
}

/// Launches a kernel with one thread for each element of its first input; returns a new
/// tensor of the same shape.
pub(crate) fn elementwise<const N: usize>(
    inputs: [CubeTensor; N],
    launch: impl FnOnce(&cubecl::client::Client, CubeCount, CubeDim, [BufferArg; N], BufferArg, usize),
) -> CubeTensor {
    let inputs = inputs.map(into_contiguous);
    let first = &inputs[0];
    let (client, shape) = (first.client.clone(), first.shape());
    let size = shape.num_elements();
    let out = empty_like(first);
    let dim = CubeDim::new(&client, size);
    let count = calculate_cube_count_elemwise(&client, size, dim);
    let arguments = inputs.map(CubeTensor::into_buffer_arg);
    launch(
        &client,
        count,
        dim,
        arguments,
        out.clone().into_buffer_arg(),
        size,
    );
    out
}
