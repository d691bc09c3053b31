//! What a claim is judged by, as a function of the cells of a model: the spread across methods, their distance from APET,
//! and the counts from which APET is above its reference or as good as full fine-tuning.

use super::cells::{CellsByTask, MethodCell, MethodKey, TaskCells};
use crate::stats::sample::mean;

/// The share of the way from the reference to full fine-tuning that counts as having reached it.
pub(super) const REACHED: f64 = 0.95;

/// APET has as many parameters as a method where its count is not off by more than this share of the method's.
const AS_MANY: f64 = 0.1;

/// The standard deviation of what is behind means: theirs, less what seeds alone would give. `parts` are the means
/// with the number of scores of each.
pub(super) fn spread(parts: &[(f64, f64)], noise: f64) -> Option<f64> {
    let n = parts.len() as f64;
    (parts.len() > 1).then(|| {
        let centre = parts.iter().map(|part| part.0).sum::<f64>() / n;
        let variance = parts
            .iter()
            .map(|part| (part.0 - centre).powi(2))
            .sum::<f64>()
            / (n - 1.0);
        let by_chance = parts.iter().map(|part| noise.powi(2) / part.1).sum::<f64>() / n;
        (variance - by_chance).max(0.0).sqrt()
    })
}

/// The mean over tasks of what each has.
pub(super) fn over_tasks(
    by_task: &CellsByTask,
    of: impl Fn(&TaskCells) -> Option<f64>,
) -> Option<f64> {
    let values: Option<Vec<f64>> = by_task.values().map(of).collect();
    mean(&values?)
}

fn is_pet(cell: &MethodCell) -> bool {
    matches!(cell.key, MethodKey::Other(_))
}

/// The spread across methods.
pub(super) fn across_methods(cells_of_task: &TaskCells) -> Option<f64> {
    let cells = cells_of_task.cells.iter().filter(|cell| is_pet(cell));
    let parts: Vec<(f64, f64)> = cells.map(|cell| (cell.mean(), cell.runs as f64)).collect();
    spread(&parts, cells_of_task.noise)
}

/// The centre of a cell for the spread across methods, without the contribution of the seeds: otherwise it would
/// be in each draw twice.
pub(super) fn without_noise(cells_of_task: &TaskCells, at: usize) -> f64 {
    let Some(cell) = cells_of_task.cells.get(at) else {
        return 0.0;
    };
    let pets = cells_of_task.cells.iter().filter(|cell| is_pet(cell));
    let pets: Vec<(f64, f64)> = pets.map(|cell| (cell.mean(), 1.0)).collect();
    let seen = spread(&pets, 0.0).filter(|seen| *seen > 0.0);
    match (seen, across_methods(cells_of_task)) {
        (Some(seen), Some(real)) if is_pet(cell) => {
            let centre = pets.iter().map(|pet| pet.0).sum::<f64>() / pets.len() as f64;
            centre + real / seen * (cell.mean() - centre)
        }
        _ => cell.mean(),
    }
}

/// Each method's index, the effective number of runs of it and its APET, and its score less that of APET with as many parameters.
pub(super) fn pairs(cells_of_task: &TaskCells) -> Vec<(usize, f64, f64)> {
    let pair = |(at, pet): (usize, &MethodCell)| {
        let MethodKey::Other(_) = &pet.key else {
            return None;
        };
        let off = |cell: &&MethodCell| cell.count.abs_diff(pet.count);
        let apet = cells_of_task.cells.iter().filter(|cell| cell.is_apet());
        let apet = apet
            .min_by_key(off)
            .filter(|cell| off(cell) as f64 <= AS_MANY * pet.count as f64)?;
        let (n, m) = (pet.runs as f64, apet.runs as f64);
        Some((at, n * m / (n + m), pet.mean() - apet.mean()))
    };
    cells_of_task
        .cells
        .iter()
        .enumerate()
        .filter_map(pair)
        .collect()
}

/// How far methods are from APET with as many parameters: the root mean square, less the contribution of the seeds.
pub(super) fn apart(cells_of_task: &TaskCells) -> Option<f64> {
    let pairs = pairs(cells_of_task);
    let n = pairs.len() as f64;
    (n > 0.0).then(|| {
        let square = pairs.iter().map(|pair| pair.2.powi(2)).sum::<f64>() / n;
        let by_chance = pairs
            .iter()
            .map(|pair| cells_of_task.noise.powi(2) / pair.1);
        (square - by_chance.sum::<f64>() / n).max(0.0).sqrt()
    })
}

/// As [`without_noise`], where the distance from APET is asked.
pub(super) fn nearer_to_apet(cells_of_task: &TaskCells, at: usize) -> f64 {
    let Some(cell) = cells_of_task.cells.get(at) else {
        return 0.0;
    };
    let pairs = pairs(cells_of_task);
    let seen = pairs.iter().map(|pair| pair.2.powi(2)).sum::<f64>() / pairs.len() as f64;
    let pair = pairs.iter().find(|pair| pair.0 == at);
    match (pair, apart(cells_of_task)) {
        (Some(pair), Some(real)) if seen > 0.0 => cell.mean() - (1.0 - real / seen.sqrt()) * pair.2,
        _ => cell.mean(),
    }
}

/// The count from which APET has gone 95 % of the way from its reference to full fine-tuning, log10.
pub(super) fn high_threshold(cells_of_task: &TaskCells) -> Option<f64> {
    let (full, reference) = (
        cells_of_task.score_of(&MethodKey::Full)?,
        cells_of_task.reference(),
    );
    let wanted = reference + REACHED * (full - reference);
    let curve = cells_of_task.curve();
    let at = curve.iter().position(|point| point.1 >= wanted)?;
    let reached = curve.get(at)?;
    let Some(before) = at.checked_sub(1).and_then(|at| curve.get(at)) else {
        return Some(reached.0);
    };
    let part = (wanted - before.1) / (reached.1 - before.1);
    Some(before.0 + part * (reached.0 - before.0))
}

/// The smallest count at which APET is above its reference beyond the noise of both, log10.
pub(super) fn low_threshold(cells_of_task: &TaskCells) -> Option<f64> {
    let reference = cells_of_task.reference();
    let head = cells_of_task
        .cells
        .iter()
        .find(|cell| cell.key == MethodKey::Head);
    let of_head = head.map_or(0.0, |head| 1.0 / head.runs as f64);
    let mut cells: Vec<&MethodCell> = cells_of_task
        .cells
        .iter()
        .filter(|cell| cell.is_apet())
        .collect();
    cells.sort_by_key(|cell| cell.count);
    let above = cells.into_iter().find(|cell| {
        // One-sided 97.5 %, with the deviation pooled over many cells: about normal.
        let error = cells_of_task.noise * (1.0 / cell.runs as f64 + of_head).sqrt();
        cell.mean() - reference > 1.96 * error
    });
    above.map(|cell| (cell.count.max(1) as f64).log10())
}

/// How far tasks are apart: log10 of the largest low threshold less that of the smallest.
pub(super) fn between_tasks(by_task: &CellsByTask) -> Option<f64> {
    let found: Option<Vec<f64>> = by_task.values().map(low_threshold).collect();
    let found = found.filter(|found| found.len() > 1)?;
    let (low, high) = found.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| {
        (low.min(x), high.max(x))
    });
    Some(high - low)
}
