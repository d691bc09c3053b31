//! Micro-benchmarks of the operations on `cpu`, forward and with gradients, at the sizes of
//! MiniLM-L6 with 16 x 128 tokens: `cargo bench --profile release --workspace --exclude apet-web
//! --exclude apet-view --exclude xtask --bench kernels`, which shares the build of the tests.

use apet_kernels::{
    Normalization, SparseIndex, Update, adamw, attention, cross_entropy, gelu, linear,
    linear_with_sparse, norm, norm_of, sparse_embed, sparse_linear,
};
use apet_record::Stream;
use burn::{
    Tensor,
    tensor::{DType, Device, Int, TensorData},
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const ROWS: usize = 16;
const LENGTH: usize = 128;
const TOKENS: usize = ROWS * LENGTH;
const WIDTH: usize = 384;
const INNER: usize = 1536;
const HEADS: usize = 12;

/// Normal values from a fixed stream.
fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let mut stream = Stream::new("kernels", 0);
    let values = std::iter::repeat_with(|| stream.normal() as f32);
    let values: Vec<f32> = values.take(shape.iter().product()).collect();
    Tensor::from_data(
        TensorData::new(values, shape),
        (&Device::flex(), DType::F32),
    )
}

fn ids(count: usize, below: u64) -> Tensor<1, Int> {
    let mut stream = Stream::new("ids", 0);
    let values = std::iter::repeat_with(|| stream.below(below) as i32);
    let values: Vec<i32> = values.take(count).collect();
    Tensor::from_data(
        TensorData::new(values, [count]),
        (&Device::flex(), DType::I32),
    )
}

/// `count` positions in a matrix of `rows` x `cols`.
fn index(rows: usize, cols: usize, count: usize) -> SparseIndex {
    let size = (rows * cols) as u64;
    let step = size / count as u64;
    let positions: Vec<u64> = (0..count as u64).map(|at| at * step).collect();
    SparseIndex::new(rows, cols, &positions, &Device::flex())
}

/// Times an operation without and with the gradients of its `inputs`.
fn both<const D: usize, const N: usize>(
    c: &mut Criterion,
    name: &str,
    inputs: [Tensor<D>; N],
    op: impl Fn([Tensor<D>; N]) -> Tensor<D>,
) {
    let mut group = c.benchmark_group(name);
    group.bench_function("forward", |b| b.iter(|| op(inputs.clone())));
    group.bench_function("with gradients", |b| {
        b.iter_batched(
            || inputs.clone().map(|x| x.autodiff().require_grad()),
            |leaves| op(leaves.clone()).sum().backward(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn layers(c: &mut Criterion) {
    let (x, wide) = (random([TOKENS, WIDTH]), random([TOKENS, INNER]));
    let (weight, bias) = (random([INNER, WIDTH]), random([INNER]));
    both(c, "linear 384 to 1536", [x.clone()], |[x]| {
        linear(x, weight.clone(), Some(bias.clone()))
    });
    both(c, "gelu 2048 x 1536", [wide], |[x]| gelu(x));
    let (scale, shift) = (random([WIDTH]), random([WIDTH]));
    let kind = Normalization {
        epsilon: 1e-12,
        centered: true,
    };
    both(c, "norm 2048 x 384", [x], |[x]| {
        norm(x, scale.clone(), Some(shift.clone()), kind)
    });
    let part = || random([ROWS, HEADS, LENGTH, WIDTH / HEADS]);
    let bias = Tensor::<4>::zeros([ROWS, 1, 1, LENGTH], &Device::flex());
    both(
        c,
        "attention 16 x 12 x 128 x 32",
        [part(), part(), part()],
        |[q, k, v]| attention(q, k, v, bias.clone(), 0.18),
    );
    let logits = random([256, 30522]);
    let targets = ids(256, 30522);
    c.bench_function("cross entropy 256 x 30522 with gradients", |b| {
        b.iter_batched(
            || logits.clone().autodiff().require_grad(),
            |leaf| cross_entropy(leaf, targets.clone()).sum().backward(),
            BatchSize::LargeInput,
        );
    });
}

fn sparse(c: &mut Criterion) {
    let (x, y) = (random([TOKENS, WIDTH]), random([TOKENS, INNER]));
    let weight = random([INNER, WIDTH]);
    for count in [100, 1_000, 10_000, 100_000] {
        let index = index(INNER, WIDTH, count);
        let values = random([count]).autodiff().require_grad();
        let leaf = x.clone().autodiff().require_grad();
        let mut group = c.benchmark_group(format!("sparse {count} in 1536 x 384"));
        group.bench_function("delta with gradients", |b| {
            b.iter(|| {
                let y = y.clone().autodiff();
                sparse_linear(y, leaf.clone(), values.clone(), &index)
                    .sum()
                    .backward()
            });
        });
        group.bench_function("layer with gradients", |b| {
            b.iter(|| {
                let weight = weight.clone().autodiff();
                linear_with_sparse(leaf.clone(), weight, None, values.clone(), &index)
                    .sum()
                    .backward()
            });
        });
        group.finish();
    }
    let index = index(30522, WIDTH, 10_000);
    let (looked_up, ids) = (random([TOKENS, WIDTH]), ids(TOKENS, 30522));
    let values = random([10_000]).autodiff().require_grad();
    c.bench_function("sparse table of 10,000, with gradients", |b| {
        b.iter(|| {
            let y = looked_up.clone().autodiff();
            sparse_embed(y, values.clone(), ids.clone(), &index)
                .sum()
                .backward()
        });
    });
}

fn updates(c: &mut Criterion) {
    let update = Update {
        rate: 1e-3,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        clip: 1.0,
        updates: 1,
    };
    for count in [10_000, 10_000_000] {
        let gradient = random([count]);
        let groups = random([2]);
        c.bench_function(&format!("adamw {count}"), |b| {
            b.iter_batched(
                || (random([count]), random([2 * count])),
                |(values, moments)| {
                    let norm = norm_of(gradient.clone());
                    adamw(
                        values,
                        moments,
                        gradient.clone(),
                        norm,
                        groups.clone(),
                        update,
                    )
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(
    name = kernels;
    config = Criterion::default().sample_size(20);
    targets = layers, sparse, updates
);
criterion_main!(kernels);
