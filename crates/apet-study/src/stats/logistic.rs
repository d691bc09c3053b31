//! A score as a logistic curve of the logarithm of the number of tuned parameters (Donoway et al., 2025), and the count at which
//! it comes to a level.
//!
//! `y = low + (high - low) / (1 + exp(-(slope (ln count - theta) + offset)))`, by least squares. The offset makes theta the place
//! of the requested level, so its interval is that of a parameter: all theta whose best fit is not worse than
//! the best one by more than an F-test allows (profile likelihood; Bates and Watts, 1988, section 6.1).

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

/// Parameters of a curve.
const PARAMETERS: usize = 4;
/// Steps of the search for a fit, and halvings of the search for an end of an interval.
const STEPS: usize = 200;
const HALVINGS: usize = 40;
/// How far beyond the counts that were tried an interval is followed, in natural logarithms: a factor of 1,000.
const BEYOND: f64 = 7.0;

/// The level that a curve comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// A share of the way from its own low end to its high one.
    Share(f64),
    /// A score.
    Score(f64),
}

/// A fitted curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Logistic {
    /// The score without parameters.
    pub low: f64,
    /// The score with all parameters there could be.
    pub high: f64,
    /// How fast it rises, a natural logarithm of the count.
    pub slope: f64,
    /// Where it comes to the level that was asked for: a natural logarithm of a count.
    pub theta: f64,
    /// Sum of squared residuals.
    pub squares: f64,
}

/// The count at which a curve comes to a level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// The count.
    pub count: f64,
    /// Lower end of its 95 % interval; none where it goes on without end.
    pub low: Option<f64>,
    /// Upper end; likewise.
    pub high: Option<f64>,
    /// The curve.
    pub curve: Logistic,
}

/// The count at which the curve through scores comes to a level; none of fewer than six scores or four counts, or where
/// the curve does not come there.
pub fn threshold(scores: &[(f64, f64)], level: Level) -> Option<Threshold> {
    let points: Vec<(f64, f64)> = scores
        .iter()
        .map(|&(count, score)| (count.ln(), score))
        .collect();
    let finite = points.iter().all(|(x, y)| x.is_finite() && y.is_finite());
    let mut counts: Vec<f64> = points.iter().map(|point| point.0).collect();
    counts.sort_by(f64::total_cmp);
    counts.dedup();
    if !finite || points.len() < PARAMETERS + 2 || counts.len() < PARAMETERS {
        return None;
    }
    let (first, last) = (*counts.first()?, *counts.last()?);
    let problem = Problem::new(&points, level);
    let best = problem.best(first, last)?;
    let freedom = (points.len() - PARAMETERS) as f64;
    let factor = FisherSnedecor::new(1.0, freedom).ok()?.inverse_cdf(0.95);
    // Scores without any spread leave no doubt but that of the arithmetic.
    let most = best.squares * (1.0 + factor / freedom) + 1e-18;
    let end = |outermost: f64| problem.end(&best, outermost, most);
    Some(Threshold {
        count: best.theta.exp(),
        low: end(first.min(best.theta) - BEYOND).map(f64::exp),
        high: end(last.max(best.theta) + BEYOND).map(f64::exp),
        curve: best,
    })
}

/// Scores by count, and the level to be located. A curve is as far from all scores of a count as from their
/// mean, but for a sum that no curve changes.
struct Problem {
    /// ln count, mean score, the root of how many they are.
    groups: Vec<[f64; 3]>,
    /// Sum of the squared distances of scores from the mean of their count.
    within: f64,
    /// The lowest score and the highest.
    ends: (f64, f64),
    level: Level,
}

/// A curve's parameters as the search has them: low, ln (high - low), ln slope, theta.
type Inner = [f64; PARAMETERS];

impl Problem {
    fn new(points: &[(f64, f64)], level: Level) -> Self {
        let mut sorted = points.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut groups, mut within) = (Vec::new(), 0.0);
        for group in sorted.chunk_by(|a, b| a.0 == b.0) {
            let n = group.len() as f64;
            let mean = group.iter().map(|point| point.1).sum::<f64>() / n;
            within += group.iter().map(|p| (p.1 - mean).powi(2)).sum::<f64>();
            groups.push([group[0].0, mean, n.sqrt()]);
        }
        let scores = points.iter().map(|point| point.1);
        let low = scores.clone().fold(f64::INFINITY, f64::min);
        let high = scores.fold(f64::NEG_INFINITY, f64::max);
        Self {
            groups,
            within,
            ends: (low, high),
            level,
        }
    }

    fn value(&self, p: &Inner, x: f64) -> f64 {
        let range = p[1].exp();
        let share = match self.level {
            Level::Share(share) => share,
            // A level beyond the curve's ends has no place. A level next to the end stands for it, and fits badly.
            Level::Score(score) => ((score - p[0]) / range).clamp(1e-9, 1.0 - 1e-9),
        };
        let offset = (share / (1.0 - share)).ln();
        p[0] + range / (1.0 + (-(p[2].exp() * (x - p[3]) + offset)).exp())
    }

    fn residuals(&self, p: &Inner) -> Vec<f64> {
        self.groups
            .iter()
            .map(|&[x, y, root]| root * (self.value(p, x) - y))
            .collect()
    }

    /// Levenberg and Marquardt's search from `start`, in which theta stays where it is if it is `fixed`.
    fn search(&self, start: Inner, fixed: bool) -> (Inner, f64) {
        let free = if fixed { PARAMETERS - 1 } else { PARAMETERS };
        let sum = |r: &[f64]| r.iter().map(|r| r * r).sum::<f64>();
        let mut p = start;
        let mut residuals = self.residuals(&p);
        let (mut squares, mut damping) = (sum(&residuals), 1e-3);
        for _ in 0..STEPS {
            let columns = self.slopes(&p, free);
            let mut normal = [[0.0; PARAMETERS + 1]; PARAMETERS];
            for (i, a) in columns.iter().enumerate() {
                for (j, b) in columns.iter().enumerate() {
                    normal[i][j] = a.iter().zip(b).map(|(a, b)| a * b).sum();
                }
                normal[i][PARAMETERS] = -a.iter().zip(&residuals).map(|(a, r)| a * r).sum::<f64>();
            }
            let mut gained = None;
            while damping < 1e12 {
                let mut damped = normal;
                for (i, row) in damped.iter_mut().enumerate() {
                    row[i] += damping * (row[i] + 1e-12);
                }
                let step = solved(damped, free);
                let mut next = p;
                for (value, step) in next.iter_mut().zip(step) {
                    *value += step.clamp(-3.0, 3.0);
                }
                next[1] = next[1].clamp(-14.0, 3.0);
                next[2] = next[2].clamp(-6.0, 6.0);
                let there = self.residuals(&next);
                let found = sum(&there);
                if found < squares {
                    gained = Some(squares - found);
                    (p, residuals, squares) = (next, there, found);
                    damping = (damping * 0.2).max(1e-12);
                    break;
                }
                damping *= 4.0;
            }
            if gained.is_none_or(|gained| gained <= 1e-12 * squares) {
                break;
            }
        }
        (p, squares + self.within)
    }

    /// How each residual changes with each free parameter.
    fn slopes(&self, p: &Inner, free: usize) -> Vec<Vec<f64>> {
        const APART: f64 = 1e-6;
        let along = |i: usize| {
            let [mut up, mut down] = [*p; 2];
            up[i] += APART;
            down[i] -= APART;
            let pairs = self.residuals(&up).into_iter().zip(self.residuals(&down));
            pairs
                .map(|(up, down)| (up - down) / (2.0 * APART))
                .collect()
        };
        (0..free).map(along).collect()
    }

    /// The best curve from several places to begin; none where it does not come to the level.
    fn best(&self, first: f64, last: f64) -> Option<Logistic> {
        let (low, high) = self.ends;
        if let Level::Score(score) = self.level
            && !(low..=high).contains(&score)
        {
            return None;
        }
        let starts = [0.15, 0.35, 0.5, 0.65, 0.85].into_iter().flat_map(|place| {
            [0.4f64, 1.0, 3.0].map(|slope| {
                let theta = first + place * (last - first);
                [low - 1e-3, (high - low + 2e-3).ln(), slope.ln(), theta]
            })
        });
        let fits = starts.map(|start| self.search(start, false));
        let (p, squares) = fits.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let curve = curve(&p, squares);
        let reached = match self.level {
            Level::Share(_) => true,
            Level::Score(score) => curve.low < score && score < curve.high,
        };
        (reached && curve.theta.is_finite()).then_some(curve)
    }

    /// Where theta, going from the best fit's to `outermost`, first leaves what `most` allows; none where it never does.
    fn end(&self, best: &Logistic, outermost: f64, most: f64) -> Option<f64> {
        let start = [
            best.low,
            (best.high - best.low).ln(),
            best.slope.ln(),
            best.theta,
        ];
        let mut inside = (best.theta, start);
        let at = |theta: f64, from: Inner| {
            let mut p = from;
            p[3] = theta;
            let (p, squares) = self.search(p, true);
            (squares <= most, p)
        };
        // In strides that grow, so that each search begins near its end.
        let mut stride = (outermost - best.theta) / 128.0;
        let outside = loop {
            let theta = inside.0 + stride;
            if (theta - outermost) * (outermost - best.theta) > 0.0 {
                return None;
            }
            let (is_inside, p) = at(theta, inside.1);
            if !is_inside {
                break theta;
            }
            inside = (theta, p);
            stride *= 1.5;
        };
        let (mut near, mut far) = (inside, outside);
        for _ in 0..HALVINGS {
            let middle = (near.0 + far) / 2.0;
            let (is_inside, p) = at(middle, near.1);
            if is_inside {
                near = (middle, p);
            } else {
                far = middle;
            }
        }
        Some(near.0)
    }
}

fn curve(p: &Inner, squares: f64) -> Logistic {
    Logistic {
        low: p[0],
        high: p[0] + p[1].exp(),
        slope: p[2].exp(),
        theta: p[3],
        squares,
    }
}

/// The solution of `free` linear equations, by elimination; 0 for what nothing depends on.
fn solved(mut rows: [[f64; PARAMETERS + 1]; PARAMETERS], free: usize) -> [f64; PARAMETERS] {
    for i in 0..free {
        let pivot = (i..free).max_by(|&a, &b| rows[a][i].abs().total_cmp(&rows[b][i].abs()));
        rows.swap(i, pivot.unwrap_or(i));
        let row = rows[i];
        if row[i] == 0.0 {
            continue;
        }
        for other in rows.iter_mut().take(free).skip(i + 1) {
            let share = other[i] / row[i];
            for (value, own) in other.iter_mut().zip(row) {
                *value -= share * own;
            }
        }
    }
    let mut solution = [0.0; PARAMETERS];
    for i in (0..free).rev() {
        let known: f64 = (i + 1..free).map(|j| rows[i][j] * solution[j]).sum();
        if rows[i][i] != 0.0 {
            solution[i] = (rows[i][PARAMETERS] - known) / rows[i][i];
        }
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;
    use apet_record::Stream;

    /// Eight counts from 10 to 10^6, five scores each, around a curve.
    fn drawn(truth: &Logistic, spread: f64, stream: &mut Stream) -> Vec<(f64, f64)> {
        let counts = (0..8).map(|at| 10f64.powf(1.0 + 5.0 * f64::from(at) / 7.0));
        let score = |count: f64, noise: f64| {
            let x = truth.slope * (count.ln() - truth.theta);
            truth.low + (truth.high - truth.low) / (1.0 + (-x).exp()) + spread * noise
        };
        counts
            .flat_map(|count| [count; 5])
            .map(|count| (count, score(count, stream.normal())))
            .collect()
    }

    fn truth(stream: &mut Stream) -> Logistic {
        let mut between =
            |low: f64, high: f64| low + (high - low) * stream.below(10_001) as f64 / 10_000.0;
        Logistic {
            low: between(0.4, 0.6),
            high: between(0.75, 0.95),
            slope: between(0.5, 2.0),
            theta: between(5.0, 9.0),
            squares: 0.0,
        }
    }

    #[test]
    fn a_curve_without_noise_is_found() {
        let mut stream = Stream::new("curves", 1);
        for _ in 0..50 {
            let truth = truth(&mut stream);
            let scores = drawn(&truth, 0.0, &mut stream);
            let found = threshold(&scores, Level::Share(0.5)).unwrap();
            let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * b.abs();
            let curve = found.curve;
            assert!(
                near(curve.low, truth.low) && near(curve.high, truth.high),
                "{curve:?} {truth:?}"
            );
            assert!(
                near(curve.slope, truth.slope) && near(curve.theta, truth.theta),
                "{curve:?} {truth:?}"
            );
            // The same curve at another level.
            let high = threshold(&scores, Level::Share(0.9)).unwrap();
            let expected = truth.theta + 9f64.ln() / truth.slope;
            assert!(near(high.curve.theta, expected), "{high:?} {truth:?}");
            let score = truth.low + 0.9 * (truth.high - truth.low);
            if let Some(scored) = threshold(&scores, Level::Score(score)) {
                assert!(
                    (scored.curve.theta - expected).abs() < 1e-3 * expected,
                    "{scored:?} {truth:?}"
                );
            }
        }
    }

    /// Of 1,000 simulated cases, between 91 and 98 of a hundred intervals of 95 % have the truth inside.
    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        for level in [0.5, 0.9] {
            let mut stream = Stream::new("coverage", (10.0 * level) as u64);
            let (mut covered, mut fitted) = (0, 0);
            for _ in 0..500 {
                let truth = truth(&mut stream);
                let scores = drawn(&truth, 0.02, &mut stream);
                let Some(found) = threshold(&scores, Level::Share(level)) else {
                    continue;
                };
                fitted += 1;
                let at = (truth.theta + (level / (1.0 - level)).ln() / truth.slope).exp();
                let inside = found.low.is_none_or(|low| low <= at)
                    && found.high.is_none_or(|high| at <= high);
                covered += usize::from(inside);
            }
            assert_eq!(fitted, 500);
            let share = f64::from(covered as u32) / 500.0;
            assert!((0.91..=0.98).contains(&share), "{level}: {share}");
        }
    }

    /// Fits and intervals of SciPy (`tests/peers/statistics.py`).
    #[test]
    fn fits_and_intervals_are_those_of_scipy() {
        let figures = include_str!("../../../../tests/fixtures/statistics.json");
        let figures: serde_json::Value = serde_json::from_str(figures).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            let all = value.as_array().unwrap().iter();
            all.map(|number| number.as_f64().unwrap()).collect()
        };
        let cases = figures["curves"].as_array().unwrap();
        assert_eq!(cases.len(), 8);
        for case in cases {
            let [counts, scores, curve] =
                ["counts", "scores", "curve"].map(|of| numbers(&case[of]));
            let number = |of: &str| case[of].as_f64().unwrap();
            let scores: Vec<(f64, f64)> = counts.into_iter().zip(scores).collect();
            let found = threshold(&scores, Level::Share(number("share"))).unwrap();
            let ours = found.curve;
            let pairs = [
                (ours.low, curve[0]),
                (ours.high, curve[1]),
                (ours.slope, curve[2]),
                (ours.theta, curve[3]),
                (ours.squares, number("squares")),
                (found.low.unwrap().ln(), number("low")),
                (found.high.unwrap().ln(), number("high")),
            ];
            for (ours, theirs) in pairs {
                assert!(
                    (ours - theirs).abs() < 2e-5 * theirs.abs(),
                    "{ours} {theirs}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn what_has_no_threshold_has_none() {
        let flat: Vec<(f64, f64)> = (1..9).map(|n| (f64::from(n) * 100.0, 0.5)).collect();
        assert_eq!(threshold(&flat, Level::Score(0.9)), None);
        assert_eq!(threshold(&flat[..3], Level::Share(0.5)), None);
        assert_eq!(threshold(&[(0.0, 0.5); 9], Level::Share(0.5)), None);
        let noise: Vec<(f64, f64)> = (0..8)
            .map(|n| (10f64.powi(n), [0.5, 0.51][n as usize % 2]))
            .collect();
        // Where nothing rises, an interval has no end.
        if let Some(found) = threshold(&noise, Level::Share(0.5)) {
            assert!(found.low.is_none() || found.high.is_none(), "{found:?}");
        }
    }
}
