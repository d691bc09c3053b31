//! Elementary functions without branches, so that loops over them vectorise to the widest vectors of
//! the processor (natively inside [`vectorize`], in wasm with simd128).

use pulp::Arch;

/// Runs loops with the processor's widest vectors.
#[inline(always)]
pub(crate) fn vectorize<R>(loops: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(loops)
}

/// a b + c, fused if the processor has the instruction: wasm would call a function.
#[inline(always)]
pub(crate) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "wasm32") {
        a * b + c
    } else {
        a.mul_add(b, c)
    }
}

/// Evaluates a polynomial whose highest coefficient comes first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for c in &coefficients[1..] {
        value = multiply_add(value, x, *c);
    }
    value
}

/// eˣ, within 2 units in the last place: 2ⁿ eʳ with |r| <= ln 2 / 2, and the polynomial of
/// Cephes' `expf` (Moshier) for eʳ. 0 below -87.3, infinite above 88.7; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LEAST: f32 = -87.336_54;
    const MOST: f32 = 88.72;
    // Adding 1.5 2²³ rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let within = x.clamp(LEAST, MOST);
    let rounded = multiply_add(within, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = multiply_add(n, -LN_2_LOW, multiply_add(n, -LN_2_HIGH, within));
    let tail = polynomial(
        r,
        [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ],
    );
    let y = multiply_add(tail * r, r, r) + 1.0;
    // In two factors, because 2¹²⁸ is not an f32.
    let n = rounded.to_bits() as i32 - ROUND.to_bits() as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let y = y * power(half) * power(n - half);
    let y = if x < LEAST { 0.0 } else { y };
    if x > MOST { f32::INFINITY } else { y }
}

/// The error function, within 4e-7: Eigen's quotient of polynomials on [-4, 4].
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let above = polynomial(
        square,
        [
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_5e-5,
            -7.349_906_3e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
    );
    let below = polynomial(
        square,
        [
            -1.456_607_2e-5,
            -2.133_740_6e-4,
            -1.682_827e-3,
            -7.373_329_3e-3,
            -1.426_474e-2,
        ],
    );
    x * above / below
}

/// Number of independent partial sums; a single sum would be limited by latency.
const LANES: usize = 32;

/// Folds all values into `start`, in lanes that `both` then combines.
#[inline(always)]
fn fold(
    x: &[f32],
    start: f32,
    join: impl Fn(f32, f32) -> f32,
    both: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let pieces = x.chunks_exact(LANES);
    let rest = pieces.remainder();
    for piece in pieces {
        for (lane, &x) in lanes.iter_mut().zip(piece) {
            *lane = join(*lane, x);
        }
    }
    let rest = rest.iter().copied().fold(start, &join);
    lanes.into_iter().fold(rest, both)
}

/// The sum.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    fold(x, 0.0, |sum, x| sum + x, |a, b| a + b)
}

/// The sum of the squares of x - middle.
#[inline(always)]
pub(crate) fn squares(x: &[f32], middle: f32) -> f32 {
    let square = |sum: f32, x: f32| multiply_add(x - middle, x - middle, sum);
    fold(x, 0.0, square, |a, b| a + b)
}

/// The sum of eˣ⁻ᵐ, where m is the middle.
#[inline(always)]
pub(crate) fn exponentials(x: &[f32], middle: f32) -> f32 {
    fold(x, 0.0, |sum, x| sum + exp(x - middle), |a, b| a + b)
}

/// The maximum.
#[inline(always)]
pub(crate) fn maximum(x: &[f32]) -> f32 {
    let most = |a: f32, b: f32| if b > a { b } else { a };
    fold(x, f32::NEG_INFINITY, most, most)
}

/// The sum of the products.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_from(a, b, 0.0)
}

/// The sum of a (b - middle).
#[inline(always)]
pub(crate) fn dot_from(a: &[f32], b: &[f32], middle: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest = rest.fold(0.0, |sum, (&a, &b)| multiply_add(a, b - middle, sum));
    for (a, b) in a.zip(b) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = multiply_add(a, b - middle, *lane);
        }
    }
    lanes.into_iter().fold(rest, |sum, lane| sum + lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 1,000th f32 of a range, and both ends.
    fn some(from: f32, to: f32) -> impl Iterator<Item = f32> {
        let count = 200_000;
        (0..=count).map(move |i| from + (to - from) * i as f32 / count as f32)
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for x in some(-87.0, 88.7) {
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            let error = (found - expected).abs() / expected;
            assert!(error <= 2.0 * f64::from(f32::EPSILON), "exp({x}): {found}");
        }
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn erf_is_within_4e_7() {
        for x in some(-6.0, 6.0) {
            let error = (f64::from(erf(x)) - libm::erf(f64::from(x))).abs();
            assert!(error <= 4e-7, "erf({x}): {}", erf(x));
        }
        assert!(erf(f32::NAN).is_nan());
        assert!((erf(1e30) - 1.0).abs() <= 4e-7);
    }

    /// A vectorised loop gives the same values as scalar code.
    #[test]
    fn vectors_compute_what_scalars_do() {
        let x: Vec<f32> = some(-9.0, 9.0).collect();
        let mut y = vec![0f32; x.len()];
        vectorize(|| {
            for (y, &x) in y.iter_mut().zip(&x) {
                *y = exp(x) + erf(x);
            }
        });
        for (x, y) in x.into_iter().zip(y) {
            let alone = exp(x) + erf(x);
            assert!((y - alone).abs() <= 4.0 * f32::EPSILON * alone.abs().max(1.0));
        }
    }
}
