//! Samples of numbers: mean, deviation, the interval of a mean, smoothing, and draws of chi-square.

use apet_record::Stream;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A range of values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Lower end of its 95 % interval; none of a single run.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Mean {
    pub(crate) fn from_values(values: &[f64]) -> Option<Self> {
        let interval = interval95(values);
        Some(Self {
            mean: mean(values)?,
            low: interval.map(|i| i.low),
            high: interval.map(|i| i.high),
        })
    }
}

/// The arithmetic mean; `None` of no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample, over n - 1; `None` of fewer than two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    Some((squares / (values.len() as f64 - 1.0)).sqrt())
}

/// The 95 % confidence interval of the mean, for independent and about normal values:
/// mean ± t s / √n with the 97.5 % quantile t of Student's distribution with n - 1
/// degrees of freedom (Student, 1908). `None` of fewer than two values. It is not cut
/// to the range a score can have.
pub fn interval95(values: &[f64]) -> Option<Interval> {
    let (mean, deviation) = (mean(values)?, deviation(values)?);
    let n = values.len() as f64;
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.975);
    let half = t * deviation / n.sqrt();
    Some(Interval {
        low: mean - half,
        high: mean + half,
    })
}

/// Exponential smoothing: each value is the mean of all values up to it, weighted by
/// `weight` to the power of their age. The first values are not drawn towards 0.
///
/// `weight` 0 leaves the values as they are; it is cut to 0..=0.999, and NaN is 0.
pub fn smoothed(values: &[f64], weight: f64) -> Vec<f64> {
    let weight = if weight.is_nan() {
        0.0
    } else {
        weight.clamp(0.0, 0.999)
    };
    let (mut sum, mut total) = (0.0, 0.0);
    let mut smooth = |value: &f64| {
        sum = weight * sum + value;
        total = weight * total + 1.0;
        sum / total
    };
    values.iter().map(&mut smooth).collect()
}

/// A draw of chi-square: the sum of `freedom` squared standard normals. For a large `freedom` its cube root is almost normal
/// (Wilson and Hilferty, 1931), and one is drawn.
pub(crate) fn chi_square(stream: &mut Stream, freedom: usize) -> f64 {
    const MANY: usize = 256;
    if freedom < MANY {
        return (0..freedom).map(|_| stream.normal().powi(2)).sum();
    }
    let freedom = freedom as f64;
    let ninth = 2.0 / (9.0 * freedom);
    let root = 1.0 - ninth + ninth.sqrt() * stream.normal();
    freedom * root.max(0.0).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Against the table of Student's distribution (R: qt(0.975, df)).
    #[test]
    fn intervals_use_students_quantiles() {
        let table = [
            (1, 12.706204736432095),
            (2, 4.302652729911275),
            (4, 2.776445105197793),
            (9, 2.262157162740992),
            (30, 2.042272456301238),
            (100, 1.983971518523553),
        ];
        for (df, t) in table {
            // n values with mean 0 and s = 1 give a half width of t / sqrt(n).
            let n = df + 1;
            let mut values = vec![0.0; n];
            let size = (df as f64 / 2.0).sqrt();
            (values[0], values[1]) = (size, -size);
            let half = interval95(&values).unwrap().high;
            let found = half * (n as f64).sqrt();
            assert!(
                (found - t).abs() < 1e-6 * t,
                "df {df}: {found}, expected {t}"
            );
        }
    }

    /// Five accuracies; mean and interval by R's t.test.
    #[test]
    fn an_interval_by_hand() {
        let values = [0.80, 0.82, 0.81, 0.79, 0.83];
        assert!((mean(&values).unwrap() - 0.81).abs() < 1e-12);
        let interval = interval95(&values).unwrap();
        assert!((interval.low - 0.790367567).abs() < 1e-8, "{interval:?}");
        assert!((interval.high - 0.829632432).abs() < 1e-8, "{interval:?}");
    }

    /// Means and intervals of SciPy (`tests/peers/statistics.py`).
    #[test]
    fn intervals_are_those_of_scipy() {
        let figures = include_str!("../../../../tests/fixtures/statistics.json");
        let figures: serde_json::Value = serde_json::from_str(figures).unwrap();
        let cases = figures["means"].as_array().unwrap();
        assert_eq!(cases.len(), 5);
        for case in cases {
            let values = case["values"].as_array().unwrap().iter();
            let values: Vec<f64> = values.map(|value| value.as_f64().unwrap()).collect();
            let interval = interval95(&values).unwrap();
            let pairs = [
                (mean(&values).unwrap(), "mean"),
                (interval.low, "low"),
                (interval.high, "high"),
            ];
            for (ours, of) in pairs {
                let theirs = case[of].as_f64().unwrap();
                assert!((ours - theirs).abs() < 1e-6, "{of}: {ours} {theirs}");
            }
        }
    }

    #[test]
    fn few_values_have_no_interval() {
        assert_eq!(mean(&[]), None);
        assert_eq!(interval95(&[]), None);
        assert_eq!(interval95(&[0.5]), None);
        assert_eq!(
            interval95(&[0.5, 0.5]),
            Some(Interval {
                low: 0.5,
                high: 0.5
            })
        );
    }

    #[test]
    fn smoothing_by_hand() {
        assert_eq!(smoothed(&[4.0, 1.0, 7.0], 0.0), [4.0, 1.0, 7.0]);
        assert_eq!(smoothed(&[4.0, 1.0], f64::NAN), [4.0, 1.0]);
        // (0.5 * 4 + 1) / 1.5, then (0.25 * 4 + 0.5 * 1 + 7) / 1.75.
        let s = smoothed(&[4.0, 1.0, 7.0], 0.5);
        assert!(
            (s[1] - 2.0).abs() < 1e-12 && (s[2] - 8.5 / 1.75).abs() < 1e-12,
            "{s:?}"
        );
    }

    proptest! {
        #[test]
        fn the_interval_is_around_the_mean(values in prop::collection::vec(0.0f64..1.0, 2..30)) {
            let (m, i) = (mean(&values).unwrap(), interval95(&values).unwrap());
            prop_assert!(i.low <= m && m <= i.high);
            // Shifted values shift it, and nothing else.
            let shifted: Vec<f64> = values.iter().map(|v| v + 1.0).collect();
            let j = interval95(&shifted).unwrap();
            prop_assert!((j.low - i.low - 1.0).abs() < 1e-9 && (j.high - i.high - 1.0).abs() < 1e-9);
        }

        #[test]
        fn smoothing_stays_between_the_extremes(
            values in prop::collection::vec(-9.0f64..9.0, 0..40),
            weight in -1.0f64..2.0,
        ) {
            let s = smoothed(&values, weight);
            prop_assert_eq!(s.len(), values.len());
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(s.iter().all(|v| *v >= low - 1e-9 && *v <= high + 1e-9));
        }
    }

    /// Its mean is the freedom, its variance twice that, on both sides of where the way it is drawn changes.
    #[test]
    fn chi_squares_have_their_mean_and_their_variance() {
        let mut stream = Stream::new("test", 1);
        for freedom in [255, 256, 2000] {
            let draws: Vec<f64> = (0..4000)
                .map(|_| chi_square(&mut stream, freedom))
                .collect();
            let n = freedom as f64;
            let centre = mean(&draws).unwrap();
            let spread = deviation(&draws).unwrap().powi(2);
            assert!((centre / n - 1.0).abs() < 0.01, "{freedom}: {centre}");
            assert!(
                (spread / (2.0 * n) - 1.0).abs() < 0.1,
                "{freedom}: {spread}"
            );
        }
    }
}
