//! What the kernels for CubeCL share.

use burn_backend::TensorMetadata;
use burn_cubecl::{
    kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor,
};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

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
    let out =
        empty_device_contiguous_dtype(client.clone(), first.device.clone(), shape, first.dtype);
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
