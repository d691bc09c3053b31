//! From which count APET is above its reference, and from which it is as good as full fine-tuning: as the counts that were
//! tried say, and as a logistic curve through the scores does.

use serde::Serialize;

use super::cells::{MethodKey, ModelTasks, TaskCells, model_cells};
use super::measures::{REACHED, high_threshold, low_threshold};
use crate::records::entries::Study;
use crate::stats::logistic::{Level, Threshold, threshold};

/// The thresholds of a model on a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// Model by name.
    pub model: String,
    /// Task by name.
    pub task: String,
    /// The smallest count that was tried and is above the reference (the head alone, or a guess), beyond the noise.
    pub low_tried: Option<f64>,
    /// Where the curve has gone 5 % of the way from the reference to full fine-tuning.
    pub low: Option<Threshold>,
    /// Where the counts that were tried have gone 95 % of that way.
    pub high_tried: Option<f64>,
    /// Where the curve has.
    pub high: Option<Threshold>,
}

fn thresholds(model_cells: &[ModelTasks]) -> Vec<Thresholds> {
    let of_model = |(model, by_task): &ModelTasks| -> Vec<Thresholds> {
        let of_task = |(task, cells_of_task): (&String, _)| of_cells(model, task, cells_of_task);
        by_task.iter().map(of_task).collect()
    };
    model_cells.iter().flat_map(of_model).collect()
}

fn of_cells(model: &str, task: &str, cells_of_task: &TaskCells) -> Thresholds {
    let cells = cells_of_task.cells.iter().filter(|cell| cell.is_apet());
    let scores = cells.flat_map(|cell| {
        let count = cell.count.max(1) as f64;
        cell.scores.iter().map(move |&score| (count, score))
    });
    let scores: Vec<(f64, f64)> = scores.collect();
    let reference = cells_of_task.reference();
    let full = cells_of_task
        .score_of(&MethodKey::Full)
        .filter(|full| *full > reference);
    let at = |share: f64| {
        let full = full?;
        threshold(
            &scores,
            Level::Score(reference + share * (full - reference)),
        )
    };
    let count = |log: f64| 10f64.powf(log);
    Thresholds {
        model: model.into(),
        task: task.into(),
        low_tried: low_threshold(cells_of_task).map(count),
        low: at(1.0 - REACHED),
        high_tried: high_threshold(cells_of_task).map(count),
        high: at(REACHED),
    }
}

impl Study {
    /// From which counts APET is above its reference, and as good as full fine-tuning, by model and task; of `runs` (keys
    /// or run ids), or of all.
    pub fn thresholds(&self, runs: Option<&[String]>) -> Vec<Thresholds> {
        thresholds(&model_cells(self.once(runs)).0.models)
    }
}
