//! Matrix products on adapters that compute on the processor (lavapipe, SwiftShader), where
//! GPU routines with workgroup memory and barriers cost more than
//! the plain loops of `shaders/multiply_*.wgsl`. A GPU uses burn's.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Shape};
use burn_backend::{TensorMetadata, ops::FloatTensorOps};
use burn_cubecl::{
    CubeBackend,
    kernel::into_contiguous,
    template::{KernelSource, SourceTemplate},
    tensor::CubeTensor,
};
use cubecl::prelude::*;

use crate::cube::{empty, launch_wgsl, supports_wgsl};

static SOFTWARE: AtomicBool = AtomicBool::new(false);

/// Sets, for the whole process, whether the GPU device computes on the processor.
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

/// Columns and rows of c that a thread computes, and threads of a workgroup along each.
const TILE: [usize; 2] = [4, 8];
const GROUP: u32 = 8;

/// a b, a bᵀ or aᵀ b, plus an optional bias `[n]`, for factors of two axes, or of four axes of which
/// the first two are batches. With four axes and `by_token`, the result's shape is `[rows, heads, m, n]` and its
/// memory layout `[rows, m, heads, n]`.
pub(crate) fn multiply(
    product: Product,
    a: CubeTensor,
    b: CubeTensor,
    bias: Option<CubeTensor>,
    by_token: bool,
) -> CubeTensor {
    let plain = Plain::vec4(product, &a, &b).or_else(|| Plain::any(product, &a, &b));
    match plain {
        Some(plain) => plain.run(a, b, bias, by_token),
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

/// A product computed by one of the shaders.
struct Plain {
    shader: Shader,
    batches: [usize; 2],
    /// m, n, k.
    sizes: [usize; 3],
    /// Whether the factors have batch axes.
    batched: bool,
    /// The strides of a and b in the shader's form.
    steps: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shader {
    /// For contiguous rows whose length is a multiple of 4.
    Vec4(Product),
    Any,
}

impl Plain {
    /// The checks common to all shaders, before strides are considered.
    fn new(product: Product, a: &CubeTensor, b: &CubeTensor, shader: Shader) -> Option<Self> {
        let (of_a, of_b) = (a.meta.shape(), b.meta.shape());
        let rank = of_a.num_dims();
        let plain = SOFTWARE.load(Ordering::Relaxed) && supports_wgsl(a);
        let floats = a.dtype == DType::F32 && b.dtype == DType::F32;
        if !plain || !floats || of_b.num_dims() != rank || !matches!(rank, 2 | 4) {
            return None;
        }
        let (rows, cols) = (rank - 2, rank - 1);
        let sizes = match product {
            Product::Nn => [of_a[rows], of_b[cols], of_a[cols]],
            Product::Nt => [of_a[rows], of_b[rows], of_a[cols]],
            Product::Tn => [of_a[cols], of_b[cols], of_a[rows]],
        };
        let batches = match rank {
            4 => [of_a[0], of_a[1]],
            _ => [1, 1],
        };
        let same = rank == 2 || of_a[..2] == of_b[..2];
        let some = sizes.iter().chain(&batches).all(|&size| size > 0);
        // WebGPU's limit of workgroups along one axis.
        let along = |size: usize| size.div_ceil(GROUP as usize);
        let few = [along(sizes[0]), along(sizes[1]), batches[0] * batches[1]]
            .iter()
            .all(|&groups| groups <= 65_535);
        (same && some && few).then_some(Self {
            shader,
            batches,
            sizes,
            batched: rank == 4,
            steps: Vec::new(),
        })
    }

    /// For contiguous rows of multiples of 4.
    fn vec4(product: Product, a: &CubeTensor, b: &CubeTensor) -> Option<Self> {
        let mut plain = Self::new(product, a, b, Shader::Vec4(product))?;
        plain.sizes[1].is_multiple_of(4).then_some(())?;
        for of in [a, b] {
            let Strides { row, col, batches } = Strides::from_tensor(of);
            let steps = [row, batches[0], batches[1]];
            let fits = col == 1 && of.meta.shape()[of.rank() - 1].is_multiple_of(4);
            (fits && steps.iter().all(|step| step.is_multiple_of(4))).then_some(())?;
            plain.steps.extend(steps.map(|step| step / 4));
        }
        Some(plain)
    }

    /// For any strides.
    fn any(product: Product, a: &CubeTensor, b: &CubeTensor) -> Option<Self> {
        let mut plain = Self::new(product, a, b, Shader::Any)?;
        let (of_a, of_b) = (Strides::from_tensor(a), Strides::from_tensor(b));
        let along_a = match product {
            Product::Tn => [of_a.col, of_a.row],
            _ => [of_a.row, of_a.col],
        };
        let along_b = match product {
            Product::Nt => [of_b.row, of_b.col],
            _ => [of_b.col, of_b.row],
        };
        for (along, of) in [(along_a, of_a), (along_b, of_b)] {
            plain.steps.extend(along.into_iter().chain(of.batches));
        }
        Some(plain)
    }

    fn run(
        self,
        a: CubeTensor,
        b: CubeTensor,
        bias: Option<CubeTensor>,
        by_token: bool,
    ) -> CubeTensor {
        let ([m, n, k], [outer, inner]) = (self.sizes, self.batches);
        let (c, of_c) = match (self.batched, by_token) {
            (false, _) => (empty(&a, [m, n]), [n, 0, 0]),
            (true, false) => {
                let c = empty(&a, [outer, inner, m, n]);
                (c, [n, inner * m * n, m * n])
            }
            (true, true) => {
                let c = empty(&a, [outer, m, inner, n]);
                (c, [inner * n, m * inner * n, n])
            }
        };
        let (tile, unit) = match self.shader {
            Shader::Vec4(_) => (TILE, 4),
            Shader::Any => ([1, 1], 1),
        };
        let sizes = [m, n, k, inner];
        let numbers = sizes.into_iter().chain(self.steps);
        let numbers = numbers.chain(of_c.map(|step| step / unit));
        let params: Vec<u32> = numbers
            .chain([usize::from(bias.is_some())])
            .map(|number| number as u32)
            .collect();
        // Without a bias, the shader does not read the buffer in its place. It is a separate buffer,
        // because WebGPU does not bind a writable buffer twice.
        let bias = bias.map_or_else(|| empty(&a, [4]), into_contiguous);
        let groups = |size: usize, tile: usize| size.div_ceil(tile * GROUP as usize) as u32;
        let count = CubeCount::Static(
            groups(n, tile[0]),
            groups(m, tile[1]),
            (outer * inner) as u32,
        );
        let dim = CubeDim::new_2d(GROUP, GROUP);
        launch_wgsl(self.shader, dim, count, &[&a, &b, &bias, &c], &params);
        match self.batched && by_token {
            true => <CubeBackend as FloatTensorOps<CubeBackend>>::float_swap_dims(c, 1, 2),
            false => c,
        }
    }
}

/// The strides of a factor, in elements: between rows, between columns, and between batches.
#[derive(Clone, Copy)]
struct Strides {
    row: usize,
    col: usize,
    batches: [usize; 2],
}

impl Strides {
    fn from_tensor(tensor: &CubeTensor) -> Self {
        let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
        let rank = shape.num_dims();
        // An axis of length 1 has no stride.
        let step = |d: usize| if shape[d] == 1 { 0 } else { strides[d] };
        Self {
            row: step(rank - 2),
            col: strides[rank - 1],
            batches: match rank {
                4 => [step(0), step(1)],
                _ => [0, 0],
            },
        }
    }
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(match self {
            Self::Vec4(Product::Nn) => include_str!("../../../shaders/multiply_nn.wgsl"),
            Self::Vec4(Product::Nt) => include_str!("../../../shaders/multiply_nt.wgsl"),
            Self::Vec4(Product::Tn) => include_str!("../../../shaders/multiply_tn.wgsl"),
            Self::Any => include_str!("../../../shaders/multiply_any.wgsl"),
        })
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(*self)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}
