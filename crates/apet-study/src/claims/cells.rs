//! The cells that claims are judged by: the scores of a method on a model and a task, over seeds.

use std::collections::{BTreeMap, BTreeSet};

use apet_record::{Method, Stream};

use crate::records::entries::Entry;
use crate::records::filter::{Split, score};
use crate::stats::sample::{chi_square, mean};

/// The scores of one method on a task, over seeds.
#[derive(Clone, Debug)]
pub(super) struct MethodCell {
    pub(super) key: MethodKey,
    /// Tuned parameters, the head not counted.
    pub(super) count: u64,
    /// None of a cell that was drawn.
    pub(super) scores: Vec<f64>,
    pub(super) runs: usize,
    /// Keys of the records; none of a cell that was drawn.
    pub(super) keys: Vec<String>,
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
            keys: Vec::new(),
            mean,
            squares: scores.iter().map(|score| (score - mean).powi(2)).sum(),
            scores,
        }
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// As it might have been, were its mean `centre` and the standard deviation of a score `noise`.
    pub(super) fn drawn(&self, stream: &mut Stream, centre: f64, noise: f64) -> Self {
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
            keys: Vec::new(),
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
    pub(super) fn drawn(&self, stream: &mut Stream, centres: &[f64]) -> Self {
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
    type Cells = BTreeMap<(MethodKey, u64, String), Vec<(f64, String)>>;
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
        let scored = (score, entry.row.key.clone());
        cells.entry(key).or_default().push(scored);
    }
    let cells_of_task = |(guess, cells): (f64, Cells)| {
        let cells = cells.into_iter().map(|((key, count, _), scored)| {
            let (scores, keys) = scored.into_iter().unzip();
            MethodCell {
                keys,
                ..MethodCell::new(key, count, scores)
            }
        });
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
