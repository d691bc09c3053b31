//! The cells of a study, and how its figures move with its seeds: a parametric bootstrap (Efron and Tibshirani, 1993,
//! section 6.5). Each score is drawn again around what its cell is taken for, with the standard deviation pooled over
//! the cells of its model and task, and the figure is made anew. The draws come from a stream of their own: the
//! same study has the same answers everywhere.

use std::collections::{BTreeMap, BTreeSet};

use apet_record::{Method, Stream};

use super::Estimate;
use crate::figure::{Split, score};
use crate::stats::{chi_square, mean};
use crate::study::Entry;

/// Draws of the bootstrap.
const DRAWS: usize = 1000;

/// The scores of one method on a task, over seeds.
#[derive(Clone, Debug)]
pub(super) struct MethodCell {
    pub(super) key: MethodKey,
    /// Tuned parameters, the head not counted.
    pub(super) count: u64,
    /// None of a cell that was drawn.
    pub(super) scores: Vec<f64>,
    pub(super) runs: usize,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
}

/// Scores of a cell from which on its mean and its squares are drawn, not each of them: the draws have the same
/// distribution, in a time that does not grow with the scores.
const MANY: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MethodKey {
    Full,
    Head,
    Apet,
    Other(String),
}

impl MethodCell {
    pub(super) fn new(key: MethodKey, count: u64, scores: Vec<f64>) -> Self {
        let mean = mean(&scores).unwrap_or_default();
        Self {
            key,
            count,
            runs: scores.len(),
            mean,
            squares: scores.iter().map(|score| (score - mean).powi(2)).sum(),
            scores,
        }
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// As it might have been, were its mean `centre` and the standard deviation of a score `noise`.
    fn drawn(&self, stream: &mut Stream, centre: f64, noise: f64) -> Self {
        let (key, count, runs) = (self.key.clone(), self.count, self.runs);
        if runs < MANY {
            let scores = (0..runs).map(|_| centre + noise * stream.normal());
            return Self {
                scores: Vec::new(),
                ..Self::new(key, count, scores.collect())
            };
        }
        let mean = centre + noise * stream.normal() / (runs as f64).sqrt();
        Self {
            key,
            count,
            runs,
            mean,
            squares: noise.powi(2) * chi_square(stream, runs - 1),
            scores: Vec::new(),
        }
    }

    pub(super) fn is_apet(&self) -> bool {
        self.key == MethodKey::Apet
    }
}

/// The cells of a model on a task.
#[derive(Clone, Debug)]
pub(super) struct TaskCells {
    pub(super) cells: Vec<MethodCell>,
    pub(super) guess: f64,
    /// Standard deviation of a score within a cell.
    pub(super) noise: f64,
}

impl TaskCells {
    pub(super) fn has_seeds(&self) -> bool {
        self.cells.iter().any(|cell| cell.runs > 1)
    }

    /// As it might have been, were the means of its cells `centres`.
    fn drawn(&self, stream: &mut Stream, centres: &[f64]) -> Self {
        let cells = self.cells.iter().zip(centres);
        let cells = cells.map(|(cell, centre)| cell.drawn(stream, *centre, self.noise));
        let cells: Vec<MethodCell> = cells.collect();
        Self {
            noise: noise(&cells),
            cells,
            guess: self.guess,
        }
    }

    pub(super) fn score_of(&self, key: &MethodKey) -> Option<f64> {
        self.cells
            .iter()
            .find(|cell| cell.key == *key)
            .map(MethodCell::mean)
    }

    /// What a count of tuned parameters must beat: a guess, and the head alone where it learns.
    pub(super) fn reference(&self) -> f64 {
        self.score_of(&MethodKey::Head)
            .map_or(self.guess, |head| head.max(self.guess))
    }

    /// APET's scores by count, never falling (isotonic regression, weighted by runs): log10 of the count and the mean.
    pub(super) fn curve(&self) -> Vec<(f64, f64)> {
        // Runs and sums of scores.
        let mut by_count: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for cell in self.cells.iter().filter(|cell| cell.is_apet()) {
            let (runs, sum) = by_count.entry(cell.count.max(1)).or_default();
            *runs += cell.runs as f64;
            *sum += cell.runs as f64 * cell.mean;
        }
        // Blocks of counts with one mean.
        let mut blocks: Vec<(f64, f64, Vec<f64>)> = Vec::new();
        for (count, (weight, sum)) in by_count {
            let mut block = (sum / weight, weight, vec![(count as f64).log10()]);
            while let Some(before) = blocks.pop_if(|before| before.0 > block.0) {
                let weight = before.1 + block.1;
                let level = (before.0 * before.1 + block.0 * block.1) / weight;
                let counts = [before.2, block.2].concat();
                block = (level, weight, counts);
            }
            blocks.push(block);
        }
        let points = |(level, _, counts): (f64, f64, Vec<f64>)| {
            counts.into_iter().map(move |count| (count, level))
        };
        blocks.into_iter().flat_map(points).collect()
    }
}

/// A model's tasks.
pub(super) type CellsByTask = BTreeMap<String, TaskCells>;

/// A model by name, with its tasks.
pub(super) type ModelTasks = (String, CellsByTask);

/// A study's cells: models from the smallest to the largest, with their tasks.
pub(super) struct ModelCells {
    pub(super) models: Vec<ModelTasks>,
}

impl ModelCells {
    /// The tasks that every model has: means over others would compare tasks, not models. All, where no task is everywhere.
    pub(super) fn common(&self) -> Self {
        let is_everywhere = |task: &String| {
            self.models
                .iter()
                .all(|(_, tasks)| tasks.contains_key(task))
        };
        let tasks = self.models.iter().flat_map(|(_, tasks)| tasks.keys());
        let common: BTreeSet<&String> = tasks.filter(|task| is_everywhere(task)).collect();
        let kept = |tasks: &CellsByTask| -> CellsByTask {
            let tasks = tasks
                .iter()
                .filter(|(task, _)| common.is_empty() || common.contains(task));
            tasks
                .map(|(task, cells_of_task)| (task.clone(), cells_of_task.clone()))
                .collect()
        };
        let models = self
            .models
            .iter()
            .map(|(model, tasks)| (model.clone(), kept(tasks)));
        Self {
            models: models.collect(),
        }
    }

    /// The smallest and the largest model that have seeds: single runs say nothing of what seeds do.
    pub(super) fn ends(&self) -> Option<(usize, usize)> {
        let has_seeds = |at: &usize| self.models[*at].1.values().all(TaskCells::has_seeds);
        let mut with = (0..self.models.len()).filter(has_seeds);
        let first = with.next()?;
        with.next_back().map(|last| (first, last))
    }

    /// A figure of every model, its interval, and how often it is larger at the first of [`Self::ends`] than at the last.
    pub(super) fn figures(
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

/// The standard deviation of a score within a cell, pooled over cells.
pub(super) fn noise(cells: &[MethodCell]) -> f64 {
    let (mut squares, mut freedom) = (0.0, 0.0);
    for cell in cells {
        squares += cell.squares;
        freedom += cell.runs as f64 - 1.0;
    }
    if freedom > 0.0 {
        (squares / freedom).sqrt()
    } else {
        0.0
    }
}

/// The study's cells, runs with a score and runs without.
pub(super) fn model_cells<'a>(
    entries: impl Iterator<Item = &'a Entry>,
) -> (ModelCells, usize, usize) {
    type Cells = BTreeMap<(MethodKey, u64, String), Vec<f64>>;
    let mut found: BTreeMap<(u64, String), BTreeMap<String, (f64, Cells)>> = BTreeMap::new();
    let (mut runs, mut left_out) = (0, 0);
    for entry in entries {
        let header = &entry.record.header;
        let of = |split| score(&entry.record, split);
        let Some(score) = of(Split::Test).or_else(|| of(Split::Dev)) else {
            left_out += 1;
            continue;
        };
        runs += 1;
        let key = match &header.spec.method {
            full if full.is_full() => MethodKey::Full,
            Method::Head(_) => MethodKey::Head,
            Method::Apet(_) => MethodKey::Apet,
            other => MethodKey::Other(other.label()),
        };
        let models = found
            .entry((header.model.parameters, header.spec.model.clone()))
            .or_default();
        let guess = header.task.uniform_guess.max(header.task.majority_guess);
        let (_, cells) = models
            .entry(header.spec.task.name.clone())
            .or_insert((guess, Cells::new()));
        let key = (
            key,
            header.theta.trainable_parameters,
            entry.setting.clone(),
        );
        cells.entry(key).or_default().push(score);
    }
    let cells_of_task = |(guess, cells): (f64, Cells)| {
        let cells = cells
            .into_iter()
            .map(|((key, count, _), scores)| MethodCell::new(key, count, scores));
        let cells: Vec<MethodCell> = cells.collect();
        TaskCells {
            noise: noise(&cells),
            cells,
            guess,
        }
    };
    let by_task = |tasks: BTreeMap<String, (f64, Cells)>| {
        tasks
            .into_iter()
            .map(|(task, found)| (task, cells_of_task(found)))
            .collect()
    };
    let models = found
        .into_iter()
        .map(|((_, model), tasks)| (model, by_task(tasks)));
    let models = models.collect();
    (ModelCells { models }, runs, left_out)
}
