//! What the kernels for CubeCL and the shaders share.

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

/// In which language the kernels that have both are launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelLanguage {
    /// WGSL where CubeCL compiles to WGSL, CubeCL elsewhere.
    Auto,
    /// CubeCL everywhere; for tests and comparisons.
    CubeCl,
}

static LANGUAGE: AtomicU8 = AtomicU8::new(0);

/// Chooses the language of the kernels for the whole process.
pub fn set_kernel_language(language: KernelLanguage) {
    LANGUAGE.store(language as u8, Ordering::Relaxed);
}

/// Whether the shaders of `shaders/` can be launched where a tensor lies.
pub(crate) fn takes_wgsl(tensor: &CubeTensor) -> bool {
    LANGUAGE.load(Ordering::Relaxed) == KernelLanguage::Auto as u8
        && tensor.client.name() == "wgpu<wgsl>"
}

/// Launches a shader over buffers, the last of them written, and its numbers behind them.
pub(crate) fn launch_wgsl(
    shader: impl KernelSource,
    dim: CubeDim,
    count: CubeCount,
    buffers: &[&CubeTensor],
    params: &[u32],
) {
    let client = buffers[0].client.clone();
    // In pairs, as CubeCL keeps a launch's numbers: equal ones are sent once, and no launch waits for them.
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

/// Memory for f32 in a shape, where another tensor lies.
pub(crate) fn of_shape(beside: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    let (client, device) = (beside.client.clone(), beside.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), DType::F32)
}

/// Memory for f32 in the shape of another tensor.
pub(crate) fn like(tensor: &CubeTensor) -> CubeTensor {
    of_shape(tensor, tensor.shape())
}

/// Launches a kernel with one thread for each element of its first input, into a new
/// tensor of that shape.
pub(crate) fn elementwise<const N: usize>(
    inputs: [CubeTensor; N],
    launch: impl FnOnce(&cubecl::client::Client, CubeCount, CubeDim, [BufferArg; N], BufferArg, usize),
) -> CubeTensor {
    let inputs = inputs.map(into_contiguous);
    let first = &inputs[0];
    let (client, shape) = (first.client.clone(), first.shape());
    let size = shape.num_elements();
    let out = like(first);
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
