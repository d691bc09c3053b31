//! How runs converged: how fast, how far theta moved, and how flat the loss is at the end.

use std::collections::BTreeMap;

use serde::Serialize;

use super::columns::steps_to;
use super::entries::{Entry, Study};
use crate::stats::sample::Mean;

/// The share of the way to its best dev score that counts as having converged.
const CONVERGED: f64 = 0.9;

/// How runs that differ only in their seeds converged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConvergenceStats {
    /// Model by name.
    pub model: String,
    /// Parameters of the model.
    pub parameters: u64,
    /// Task by name.
    pub task: String,
    /// Method by name.
    pub method: String,
    /// Parameters that were tuned, the head not counted.
    pub count: u64,
    /// Runs whose loss was measured around their end.
    pub runs: usize,
    /// Keys of their records.
    pub keys: Vec<String>,
    /// Steps until dev had come 90 % of the way from the guess to its best.
    pub steps: Option<Mean>,
    /// Length of theta's way.
    pub way: Option<Mean>,
    /// By how much the loss rises over a random step as long as that way.
    pub rise: Option<Mean>,
}

/// The runs whose landscape was measured, by model from the smallest, task, method and count.
fn convergence<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<ConvergenceStats> {
    type Key = (u64, String, String, String, u64, String);
    let mut found: BTreeMap<Key, ([Vec<f64>; 3], Vec<String>)> = BTreeMap::new();
    for entry in entries {
        let Some(landscape) = entry.record.landscape() else {
            continue;
        };
        let row = &entry.row;
        let key = (
            row.parameters,
            row.model.clone(),
            row.task.clone(),
            row.method.clone(),
            row.count,
            entry.setting.clone(),
        );
        let ([steps, way, rise], keys) = found.entry(key).or_default();
        keys.push(row.key.clone());
        steps.extend(steps_to(CONVERGED, &entry.record).map(|step| step as f64));
        way.push(landscape.norm);
        rise.extend(landscape.rise());
    }
    let cell = |((parameters, model, task, method, count, _), ([steps, way, rise], keys)): (
        Key,
        ([Vec<f64>; 3], Vec<String>),
    )| ConvergenceStats {
        model,
        parameters,
        task,
        method,
        count,
        runs: way.len(),
        keys,
        steps: Mean::from_values(&steps),
        way: Mean::from_values(&way),
        rise: Mean::from_values(&rise),
    };
    found.into_iter().map(cell).collect()
}

impl Study {
    /// How fast runs converged, how far theta went and how flat the loss is there, where that was measured; of `runs` (keys
    /// or run ids), or of all.
    pub fn convergence(&self, runs: Option<&[String]>) -> Vec<ConvergenceStats> {
        convergence(self.once(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;
    use apet_record::{Landscape, Line, RunRecord};

    #[test]
    fn ways_are_averaged_over_seeds() {
        let mut study = Study::new();
        for (seed, norm) in [(1, 2.0), (2, 4.0)] {
            let run = Run {
                seed,
                ..Run::default()
            };
            let mut record = RunRecord::parse(&run.text()).unwrap().remove(0);
            let landscape = Landscape {
                norm,
                init_to_best_loss: vec![[0.0, 1.0], [1.0, 0.25]],
                random_direction_loss: vec![vec![[-1.0, 0.5], [1.0, 0.7]]],
                ..Landscape::default()
            };
            let last = record.lines.len() - 1;
            record.lines.insert(last, Line::Landscape(landscape));
            study.insert("x", record).unwrap();
        }
        // One without a landscape is not among them.
        let other = Run {
            seed: 3,
            ..Run::default()
        };
        study.add("x", &other.text()).unwrap();
        let [found] = &study.convergence(None)[..] else {
            panic!("one cell");
        };
        assert_eq!((found.runs, found.count), (2, 10_000));
        assert_eq!(found.way.unwrap().mean, 3.0);
        assert!((found.rise.unwrap().mean - 0.35).abs() < 1e-12);
        let report = study.report("x", "y", None);
        assert!(report.contains("## How runs got there"), "{report}");
    }
}
