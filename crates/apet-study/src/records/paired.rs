//! Two models tuned in the same way, compared seed by seed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::entries::{Entry, Study};
use super::filter::{Split, score};
use crate::stats::sample::{interval95, mean};

/// What one model scores above another, over the seeds that both were tuned with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Task by name.
    pub task: String,
    /// Method by name; of APET with its count as it was asked for.
    pub method: String,
    /// The model with fewer parameters, or the first by name.
    pub from: String,
    /// The other one.
    pub to: String,
    /// Mean of `to` less `from`.
    pub mean: f64,
    /// The 95 % interval of the mean (Student's t on the differences).
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Seeds.
    pub n: usize,
    /// Keys of the records of both models with these seeds.
    pub runs: Vec<String>,
}

/// A model: parameters, then name.
type ModelSize = (u64, String);
/// Scores by the seeds of placement, batches and initial values, with the keys of their records.
type Scores = BTreeMap<[u64; 3], Scored>;
/// A score, and the key of its record.
type Scored = (f64, String);

/// Every two models that share a task, a way to be tuned, and at least two seeds.
fn paired<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Paired> {
    let mut found: BTreeMap<(String, String), BTreeMap<ModelSize, Scores>> = BTreeMap::new();
    for entry in entries {
        let Some(score) = score(&entry.record, Split::Test) else {
            continue;
        };
        let header = &entry.record.header;
        let spec = &header.spec;
        let method = match &spec.method {
            apet_record::Method::Apet(apet_record::Apet { count, .. }) => {
                format!("{} {count}", spec.method.label())
            }
            other => other.label(),
        };
        let scale = (header.model.parameters, spec.model.clone());
        let seeds = [spec.seeds.placement, spec.seeds.batches, spec.seeds.init];
        let ways = found.entry((spec.task.name.clone(), method)).or_default();
        ways.entry(scale)
            .or_default()
            .insert(seeds, (score, entry.row.key.clone()));
    }
    let mut all = Vec::new();
    for ((task, method), models) in &found {
        for (at, (from, lower)) in models.iter().enumerate() {
            for (to, upper) in models.iter().skip(at + 1) {
                let shared: BTreeSet<_> = lower
                    .keys()
                    .filter(|seeds| upper.contains_key(*seeds))
                    .collect();
                let scores: Vec<(&Scored, &Scored)> = shared
                    .into_iter()
                    .filter_map(|seeds| Some((lower.get(seeds)?, upper.get(seeds)?)))
                    .collect();
                let differences: Vec<f64> = scores.iter().map(|(a, b)| b.0 - a.0).collect();
                let (Some(mean), Some(interval)) = (mean(&differences), interval95(&differences))
                else {
                    continue;
                };
                all.push(Paired {
                    task: task.clone(),
                    method: method.clone(),
                    from: from.1.clone(),
                    to: to.1.clone(),
                    mean,
                    low: interval.low,
                    high: interval.high,
                    n: differences.len(),
                    runs: scores
                        .into_iter()
                        .flat_map(|(a, b)| [a.1.clone(), b.1.clone()])
                        .collect(),
                });
            }
        }
    }
    all
}

impl Study {
    /// Every two models that share a task, a method, and at least two seeds; in `runs` (keys or run ids), or in all.
    pub fn paired(&self, runs: Option<&[String]>) -> Vec<Paired> {
        paired(self.asked(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;

    #[test]
    fn models_are_compared_seed_by_seed() {
        let mut study = Study::new();
        let mut add = |model, seed, test| {
            let run = Run {
                model,
                seed,
                test: Some(test),
                ..Run::default()
            };
            study.add("x", &run.text()).unwrap();
        };
        // Differences 0.1, 0.2, 0.3; the fourth seed has no other.
        for (seed, a, b) in [(1, 0.5, 0.6), (2, 0.6, 0.8), (3, 0.4, 0.7)] {
            add("a", seed, a);
            add("b", seed, b);
        }
        add("a", 4, 0.0);
        let pairs = study.paired(None);
        assert_eq!(pairs.len(), 1);
        let pair = &pairs[0];
        assert_eq!((&pair.from[..], &pair.to[..], pair.n), ("a", "b", 3));
        // t(2) = 4.302653, s / sqrt(3) = 0.057735.
        let half = 4.302_652_73 * 0.1 / 3f64.sqrt();
        assert!((pair.mean - 0.2).abs() < 1e-12 && (pair.high - 0.2 - half).abs() < 1e-6);
        assert_eq!(pair.method, "apet 10000");
    }

    #[test]
    fn one_shared_seed_is_no_comparison() {
        let mut study = Study::new();
        for model in ["a", "b"] {
            study
                .add(
                    "x",
                    &Run {
                        model,
                        ..Run::default()
                    }
                    .text(),
                )
                .unwrap();
        }
        assert_eq!(study.paired(None), []);
    }
}
