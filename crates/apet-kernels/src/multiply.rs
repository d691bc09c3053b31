//! Products of matrices on adapters that compute on the processor (lavapipe, SwiftShader): there the
//! routines for GPUs, with their memory of a workgroup and their barriers, cost more than
//! the plain ones of `shaders/multiply_*.wgsl`. On a GPU, and where a shape does not fit, burn's are taken.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Shape};
use burn_backend::{TensorMetadata, ops::FloatTensorOps};
use burn_cubecl::{
    CubeBackend,
    kernel::into_contiguous,
    ops::numeric::empty_device_contiguous_dtype,
    template::{KernelSource, SourceTemplate},
    tensor::CubeTensor,
};
use cubecl::prelude::*;

use crate::cube::{launch_wgsl, takes_wgsl};

static SOFTWARE: AtomicBool = AtomicBool::new(false);

/// Says, for the whole process, whether the GPU device is one that computes on the processor.
pub fn set_software_adapter(software: bool) {
    SOFTWARE.store(software, Ordering::Relaxed);
}

/// Which factor is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Product {
    /// a b
    Nn,
    /// a bᵀ
    Nt,
    /// aᵀ b
    Tn,
}

/// Columns and rows of c that a thread makes, and threads of a workgroup along each.
const TILE: [usize; 2] = [4, 8];
const GROUP: u32 = 8;

/// a b, a bᵀ or aᵀ b, with a bias `[n]` added where there is one: factors of two axes, or of four, where
/// the first two are batches. Of four axes, where `by_token`, the result is laid out as `[rows, m, heads, n]`
/// (and still is `[rows, heads, m, n]`).
pub(crate) fn multiply(
    product: Product,
    a: CubeTensor,
    b: CubeTensor,
    bias: Option<CubeTensor>,
    by_token: bool,
) -> CubeTensor {
    match Plain::new(product, &a, &b, by_token) {
        Some(plain) => plain.run(a, b, bias),
        None => by_burn(product, a, b, bias),
    }
}

fn by_burn(product: Product, a: CubeTensor, b: CubeTensor, bias: Option<CubeTensor>) -> CubeTensor {
    type Cube = CubeBackend;
    let last = a.rank() - 1;
    let flip = |tensor| <Cube as FloatTensorOps<Cube>>::float_swap_dims(tensor, last - 1, last);
    let (a, b) = match product {
        Product::Nn => (a, b),
        Product::Nt => (a, flip(b)),
        Product::Tn => (flip(a), b),
    };
    let c = <Cube as FloatTensorOps<Cube>>::float_matmul(a, b);
    match bias {
        Some(bias) => {
            let row = Shape::from([1, bias.shape()[0]]);
            let bias = <Cube as FloatTensorOps<Cube>>::float_reshape(bias, row);
            <Cube as FloatTensorOps<Cube>>::float_add(c, bias)
        }
        None => c,
    }
}

/// How a factor lies in its buffer, in fours: from row to row, and from batch to batch.
#[derive(Clone, Copy)]
struct Strides {
    row: usize,
    batches: [usize; 2],
}

impl Strides {
    /// None where a row's elements do not lie together in fours.
    fn of(tensor: &CubeTensor) -> Option<Self> {
        let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
        let rank = shape.num_dims();
        let fits = tensor.dtype == DType::F32
            && strides[rank - 1] == 1
            && shape[rank - 1].is_multiple_of(4)
            && strides[..rank - 1].iter().all(|s| s.is_multiple_of(4));
        // An axis of one element is never stepped along.
        let step = |d: usize| if shape[d] == 1 { 0 } else { strides[d] / 4 };
        fits.then(|| Self {
            row: step(rank - 2),
            batches: if rank == 4 {
                [step(0), step(1)]
            } else {
                [0, 0]
            },
        })
    }
}

/// A product that fits the plain shaders.
struct Plain {
    product: Product,
    batches: [usize; 2],
    /// m, n, k.
    sizes: [usize; 3],
    a: Strides,
    b: Strides,
    four: bool,
    by_token: bool,
}

impl Plain {
    fn new(product: Product, a: &CubeTensor, b: &CubeTensor, by_token: bool) -> Option<Self> {
        let (of_a, of_b) = (a.meta.shape(), b.meta.shape());
        let rank = of_a.num_dims();
        let plain = SOFTWARE.load(Ordering::Relaxed) && takes_wgsl(a);
        if !plain || of_b.num_dims() != rank || !matches!(rank, 2 | 4) {
            return None;
        }
        let (rows, cols) = (rank - 2, rank - 1);
        let (sizes, fours) = match product {
            Product::Nn => ([of_a[rows], of_b[cols], of_a[cols]], of_b[cols]),
            Product::Nt => ([of_a[rows], of_b[rows], of_a[cols]], of_b[rows]),
            Product::Tn => ([of_a[cols], of_b[cols], of_a[rows]], of_b[cols]),
        };
        let batches = if rank == 4 {
            [of_a[0], of_a[1]]
        } else {
            [1, 1]
        };
        let same = rank == 2 || of_a[..2] == of_b[..2];
        let some = sizes.iter().chain(&batches).all(|&size| size > 0);
        // What WebGPU launches along one axis.
        let few = batches[0] * batches[1] <= 65_535;
        (same && some && few && fours.is_multiple_of(4)).then_some(())?;
        Some(Self {
            product,
            batches,
            sizes,
            a: Strides::of(a)?,
            b: Strides::of(b)?,
            four: rank == 4,
            by_token,
        })
    }

    fn run(self, a: CubeTensor, b: CubeTensor, bias: Option<CubeTensor>) -> CubeTensor {
        let ([m, n, k], [outer, inner]) = (self.sizes, self.batches);
        let new = |shape: &[usize]| {
            let shape = Shape::from(shape.to_vec());
            empty_device_contiguous_dtype(a.client.clone(), a.device.clone(), shape, DType::F32)
        };
        let (c, of_c) = match (self.four, self.by_token) {
            (false, _) => (new(&[m, n]), [n / 4, 0, 0]),
            (true, false) => {
                let c = new(&[outer, inner, m, n]);
                (c, [n, inner * m * n, m * n].map(|stride| stride / 4))
            }
            (true, true) => {
                let c = new(&[outer, m, inner, n]);
                (c, [inner * n, m * inner * n, n].map(|stride| stride / 4))
            }
        };
        let steps = |of: Strides| [of.row, of.batches[0], of.batches[1]];
        let biased = bias.is_some();
        let sizes = [m, n, k, inner];
        let steps = [steps(self.a), steps(self.b), of_c].into_iter().flatten();
        let params: Vec<u32> = sizes
            .into_iter()
            .chain(steps)
            .chain([usize::from(biased)])
            .map(|number| number as u32)
            .collect();
        // Without a bias, the shader reads nothing of what stands in its place. It is no other of
        // the buffers: WebGPU binds none twice where it may be written.
        let bias = bias.map_or_else(|| new(&[4]), into_contiguous);
        let groups = |size: usize, tile: usize| size.div_ceil(tile * GROUP as usize) as u32;
        let count = CubeCount::Static(
            groups(n, TILE[0]),
            groups(m, TILE[1]),
            (outer * inner) as u32,
        );
        let dim = CubeDim::new_2d(GROUP, GROUP);
        launch_wgsl(self.product, dim, count, &[&a, &b, &bias, &c], &params);
        match self.four && self.by_token {
            true => <CubeBackend as FloatTensorOps<CubeBackend>>::float_swap_dims(c, 1, 2),
            false => c,
        }
    }
}

impl KernelSource for Product {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(match self {
            Self::Nn => include_str!("../../../shaders/multiply_nn.wgsl"),
            Self::Nt => include_str!("../../../shaders/multiply_nt.wgsl"),
            Self::Tn => include_str!("../../../shaders/multiply_tn.wgsl"),
        })
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(*self)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}
