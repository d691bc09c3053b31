//! Loss and dev accuracy of a run over its steps.

use serde::Serialize;

use super::entries::{Entry, Study};
use crate::stats::sample::smoothed;

/// A value at a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Optimizer steps done.
    pub step: usize,
    /// The value.
    pub value: f64,
}

/// The curves of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Key of the record.
    pub key: String,
    /// Run id.
    pub run: String,
    /// Short name, as in the runs table.
    pub name: String,
    /// Training loss in nats, smoothed as asked.
    pub points: Vec<Point>,
    /// Dev accuracy, 0 to 1, never smoothed.
    pub dev: Vec<Point>,
}

impl Curve {
    pub(crate) fn from_entry(key: &str, entry: &Entry, smoothing: f64) -> Self {
        let record = &entry.record;
        let steps = record.steps();
        let losses: Vec<f64> = steps.iter().map(|step| step.loss).collect();
        let points = steps.iter().zip(smoothed(&losses, smoothing));
        let dev = record.evals("dev").into_iter();
        Self {
            key: key.into(),
            run: entry.row.run.clone(),
            name: entry.row.name.clone(),
            points: points
                .map(|(s, value)| Point {
                    step: s.step,
                    value,
                })
                .collect(),
            dev: dev
                .map(|e| Point {
                    step: e.step,
                    value: e.score,
                })
                .collect(),
        }
    }
}

impl Study {
    /// The curves of `keys` (keys or run ids) in that order, the loss smoothed as in
    /// [`crate::smoothed`]. Unknown keys have no curve.
    pub fn curves(&self, keys: &[String], smoothing: f64) -> Vec<Curve> {
        let entries = keys.iter().flat_map(|key| self.found(key));
        entries
            .map(|(key, entry)| Curve::from_entry(key, entry, smoothing))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;

    #[test]
    fn curves_have_every_step_once_and_smooth_the_loss_only() {
        let run = Run {
            steps: 3,
            dev: Some(0.75),
            ..Run::default()
        };
        let mut text = run.text();
        // A resumed run did step 3 again.
        let again = text
            .lines()
            .find(|l| l.contains("\"step\":3") && l.contains("\"loss\":0.25"));
        text.push_str(&format!("{}\n", again.unwrap().replace("0.25", "0.5")));
        let mut study = Study::new();
        study.add("x", &text).unwrap();
        let keys = [run.spec().id()];
        let curve = study.curves(&keys, 0.0).remove(0);
        let values = |points: &[Point]| -> Vec<(usize, f64)> {
            points.iter().map(|p| (p.step, p.value)).collect()
        };
        assert_eq!(values(&curve.points), [(1, 0.75), (2, 0.5), (3, 0.5)]);
        assert_eq!(values(&curve.dev), [(1, 0.75), (3, 0.75)]);
        let smooth = study.curves(&keys, 0.5).remove(0);
        assert_eq!(smooth.dev, curve.dev);
        assert!((smooth.points[1].value - (0.5 * 0.75 + 0.5) / 1.5).abs() < 1e-12);
    }
}
