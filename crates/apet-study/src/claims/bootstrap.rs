//! How estimates move with the seeds: a parametric bootstrap (Efron and Tibshirani, 1993, section 6.5). Each score is
//! drawn again around the centre of its cell, with the standard deviation pooled over the cells of its model and
//! task, and the estimate is recomputed. The draws come from a separate stream: the same study has the same
//! estimates everywhere.

use apet_record::Stream;
use serde::Serialize;

use super::cells::{CellsByTask, ModelCells, TaskCells};

/// Draws of the bootstrap.
const DRAWS: usize = 1000;

/// A figure with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Of what: a model, and a task where it is of one.
    pub of: String,
    /// The value; none where the runs do not determine it.
    pub value: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end; none where it is beyond what was tried.
    pub high: Option<f64>,
    /// A remark about its data.
    pub note: String,
}

impl ModelCells {
    /// A figure of every model, its interval, and how often it is larger at the first of [`Self::ends`] than at the last.
    pub(super) fn estimates(
        &self,
        name: &str,
        of: impl Fn(&CellsByTask) -> Option<f64>,
        centre: impl Fn(&TaskCells, usize) -> f64,
        shown: impl Fn(f64) -> f64,
    ) -> (Vec<Estimate>, Option<f64>) {
        let ends = self.ends();
        let values: Vec<Option<f64>> = self.models.iter().map(|(_, by_task)| of(by_task)).collect();
        let centres = |cells_of_task: &TaskCells| {
            (0..cells_of_task.cells.len())
                .map(|at| centre(cells_of_task, at))
                .collect()
        };
        let of_model =
            |(_, by_task): &(String, CellsByTask)| by_task.values().map(centres).collect();
        let centres: Vec<Vec<Vec<f64>>> = self.models.iter().map(of_model).collect();
        let mut stream = Stream::new(&format!("answers {name}"), 0);
        let mut draws: Vec<Vec<f64>> = vec![Vec::new(); self.models.len()];
        let mut falls = 0;
        for _ in 0..DRAWS {
            let mut drawn = Vec::new();
            for ((_, by_task), centres) in self.models.iter().zip(&centres) {
                let by_task = by_task.iter().zip(centres);
                let by_task = by_task.map(|((task, cells_of_task), centres)| {
                    (task.clone(), cells_of_task.drawn(&mut stream, centres))
                });
                drawn.push(of(&by_task.collect()).unwrap_or(f64::INFINITY));
            }
            falls += usize::from(ends.is_some_and(|(first, last)| drawn[first] > drawn[last]));
            draws
                .iter_mut()
                .zip(drawn)
                .for_each(|(all, one)| all.push(one));
        }
        // Single runs say nothing of what seeds do.
        let has_seeds = |by_task: &CellsByTask| by_task.values().all(TaskCells::has_seeds);
        let known = ends.is_some_and(|(first, last)| {
            [first, last]
                .iter()
                .all(|&at| of(&self.models[at].1).is_some())
        });
        let figures = self.models.iter().zip(values).zip(draws);
        let figures = figures.map(|(((model, by_task), value), mut draws)| {
            if !has_seeds(by_task) {
                draws.clear();
            }
            draws.sort_by(f64::total_cmp);
            let finite = |x: f64| x.is_finite().then(|| shown(x));
            let at = |share: f64| {
                draws
                    .get((share * (DRAWS - 1) as f64).round() as usize)
                    .copied()
            };
            Estimate {
                of: model.clone(),
                value: value.map(&shown),
                low: value.and(at(0.025)).and_then(finite),
                high: value.and(at(0.975)).and_then(finite),
                note: match has_seeds(by_task) {
                    true => String::new(),
                    false => "one seed: no interval".into(),
                },
            }
        });
        (
            figures.collect(),
            known.then_some(falls as f64 / DRAWS as f64),
        )
    }
}
