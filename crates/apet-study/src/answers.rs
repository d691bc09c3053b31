//! What a study says about the paper's four claims (Su et al., 2023), whatever it is, with intervals.
//!
//! Every figure of a claim is a function of the cells (a model, a task, a method, and its scores over seeds);
//! where its interval comes from is in `cells.rs`.

mod cells;
mod thresholds;

use serde::Serialize;

pub use self::thresholds::Thresholds;

use self::cells::{CellsByTask, MethodCell, MethodKey, ModelCells, TaskCells, model_cells};
use crate::mean;
use crate::study::Entry;

/// The share of the way from the reference to full fine-tuning that counts as having reached it.
const REACHED: f64 = 0.95;

/// APET has as many parameters as a method where its count is not off by more than this share of the method's.
const AS_MANY: f64 = 0.1;

/// Counts that differ by no more than this factor are similar.
const SIMILAR: f64 = 10.0;

/// How the study's runs answer a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval of what is measured lies where the claim puts it.
    Supported,
    /// It lies on the other side.
    NotSupported,
    /// It lies on both, or something is missing.
    Undecided,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::NotSupported => "not supported",
            Self::Undecided => "undecided",
        }
    }

    /// `share` of the draws are as the claim says.
    fn from_share(share: Option<f64>) -> Self {
        match share {
            Some(share) if share >= 0.975 => Self::Supported,
            Some(share) if share <= 0.025 => Self::NotSupported,
            _ => Self::Undecided,
        }
    }
}

/// A figure with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Of what: a model, and a task where it is of one.
    pub of: String,
    /// The figure; none where the study can not tell it.
    pub value: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end; none where it is beyond what was tried.
    pub high: Option<f64>,
    /// What is behind it.
    pub note: String,
}

/// A claim of the paper, and what the study says of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClaimResult {
    /// From 1.
    pub number: usize,
    /// What the paper claims.
    pub claim: &'static str,
    /// What was measured.
    pub measure: &'static str,
    /// The unit of the figures.
    pub unit: &'static str,
    /// From the smallest model to the largest.
    pub figures: Vec<Estimate>,
    /// How it is answered.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
}

/// The answers of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClaimResults {
    /// Runs with a score.
    pub runs: usize,
    /// Runs without one: unfinished, stopped, diverged.
    pub left_out: usize,
    /// One for each claim.
    pub claims: Vec<ClaimResult>,
}

/// The standard deviation of what is behind means: theirs, less what seeds alone would give. `parts` are the means
/// with the number of scores behind each.
fn spread(parts: &[(f64, f64)], noise: f64) -> Option<f64> {
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
fn over_tasks(by_task: &CellsByTask, of: impl Fn(&TaskCells) -> Option<f64>) -> Option<f64> {
    let values: Option<Vec<f64>> = by_task.values().map(of).collect();
    mean(&values?)
}

fn is_pet(cell: &MethodCell) -> bool {
    matches!(cell.key, MethodKey::Other(_))
}

/// The spread across methods.
fn across_methods(cells_of_task: &TaskCells) -> Option<f64> {
    let cells = cells_of_task.cells.iter().filter(|cell| is_pet(cell));
    let parts: Vec<(f64, f64)> = cells.map(|cell| (cell.mean(), cell.runs as f64)).collect();
    spread(&parts, cells_of_task.noise)
}

/// What a cell is taken for where the spread across methods is asked: what seeds add to it is taken off, or it would
/// be in each draw twice.
fn without_noise(cells_of_task: &TaskCells, at: usize) -> f64 {
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

/// Each method's place, the runs behind it and its APET, and its score less that of APET with as many parameters.
fn pairs(cells_of_task: &TaskCells) -> Vec<(usize, f64, f64)> {
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

/// How far methods are from APET with as many parameters: the root of the mean square, less what seeds alone give.
fn apart(cells_of_task: &TaskCells) -> Option<f64> {
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
fn nearer_to_apet(cells_of_task: &TaskCells, at: usize) -> f64 {
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
fn high_threshold(cells_of_task: &TaskCells) -> Option<f64> {
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
fn low_threshold(cells_of_task: &TaskCells) -> Option<f64> {
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
fn between_tasks(by_task: &CellsByTask) -> Option<f64> {
    let found: Option<Vec<f64>> = by_task.values().map(low_threshold).collect();
    let found = found.filter(|found| found.len() > 1)?;
    let (low, high) = found.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| {
        (low.min(x), high.max(x))
    });
    Some(high - low)
}

impl ClaimResults {
    pub(crate) fn from_entries<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let (model_cells, runs, left_out) = model_cells(entries);
        let as_it_is = |cells_of_task: &TaskCells, at: usize| {
            cells_of_task
                .cells
                .get(at)
                .map(MethodCell::mean)
                .unwrap_or_default()
        };
        let percent = |x: f64| 100.0 * x;
        let count = |x: f64| 10f64.powf(x);
        let methods = |tasks: &CellsByTask| over_tasks(tasks, across_methods);
        let positions = |tasks: &CellsByTask| over_tasks(tasks, apart);
        let high = |tasks: &CellsByTask| over_tasks(tasks, high_threshold);
        let common = model_cells.common();
        let ends = common.ends();
        let (methods, methods_fall) = common.figures("methods", methods, without_noise, percent);
        let (positions, positions_fall) =
            common.figures("positions", positions, nearer_to_apet, percent);
        let (high, high_falls) = common.figures("high threshold", high, as_it_is, count);
        let (low, _) = model_cells.figures("low threshold", between_tasks, as_it_is, count);
        Self {
            runs,
            left_out,
            claims: vec![
                falling(1, methods, ends, methods_fall),
                falling(2, positions, ends, positions_fall),
                falling(3, high, ends, high_falls),
                similar(low, &model_cells),
            ],
        }
    }
}

/// The thresholds of every model and task.
pub(crate) fn thresholds<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Thresholds> {
    thresholds::thresholds(&model_cells(entries).0.models)
}

/// An answer to a claim that something falls with scale, from the first of the `ends` to the last.
fn falling(
    number: usize,
    figures: Vec<Estimate>,
    ends: Option<(usize, usize)>,
    falls: Option<f64>,
) -> ClaimResult {
    let verdict = Verdict::from_share(falls);
    let (claim, measure, unit, thing) = match number {
        1 => (
            "Small models: methods differ noticeably; with scale the difference becomes marginal.",
            "Standard deviation across prompt, BitFit, adapter, LoRA and other methods at their own counts, less what seeds alone give.",
            "points",
            "the spread across methods",
        ),
        2 => (
            "Scale mitigates the effect of where tunable parameters are.",
            "Distance of each method from APET with as many parameters in arbitrary positions (root mean square), less what seeds alone give.",
            "points",
            "the distance from arbitrary positions",
        ),
        _ => (
            "With scale, tuning reaches full fine-tuning with fewer tunable parameters.",
            "The smallest count at which APET has gone 95 % of the way from its head alone (or a guess) to full fine-tuning.",
            "parameters",
            "the count that is needed",
        ),
    };
    let (first, last) = ends.unwrap_or((0, figures.len().saturating_sub(1)));
    let reason = match (figures.get(first), figures.get(last), falls) {
        (Some(first), Some(last), Some(falls)) => format!(
            "From {} to {} {thing} falls in {:.1} % of the draws.",
            first.of,
            last.of,
            100.0 * falls
        ),
        (Some(first), Some(last), None) if figures.len() > 1 => {
            let unknown = if first.low.is_some() { last } else { first };
            format!(
                "The study can not tell it for {}, or how sure it is.",
                unknown.of
            )
        }
        _ => "The study has fewer than two models.".into(),
    };
    ClaimResult {
        number,
        claim,
        measure,
        unit,
        figures,
        verdict,
        reason,
    }
}

/// The answer to the claim that tasks need similar counts.
fn similar(figures: Vec<Estimate>, model_cells: &ModelCells) -> ClaimResult {
    let mut figures = figures;
    for (figure, (_, by_task)) in figures.iter_mut().zip(&model_cells.models) {
        let of_task =
            |(task, cells_of_task): (&String, &TaskCells)| match low_threshold(cells_of_task) {
                Some(count) => format!("{task}: {:.0}", 10f64.powf(count)),
                None => format!("{task}: none of those tried"),
            };
        figure.note = by_task.iter().map(of_task).collect::<Vec<_>>().join(", ");
    }
    let tasks = model_cells
        .models
        .iter()
        .map(|(_, by_task)| by_task.len())
        .min()
        .unwrap_or_default();
    let below = |x: Option<f64>| x.is_some_and(|x| x <= SIMILAR);
    let above = |x: Option<f64>| x.is_some_and(|x| x > SIMILAR);
    let (verdict, reason) = if tasks < 2 {
        (
            Verdict::Undecided,
            "The study has one task; it takes two to compare.".into(),
        )
    } else if figures.iter().all(|figure| below(figure.high)) {
        (
            Verdict::Supported,
            format!("For every model the counts of the tasks are within a factor of {SIMILAR}."),
        )
    } else if figures.iter().any(|figure| above(figure.low)) {
        (
            Verdict::NotSupported,
            format!(
                "For a model the counts of the tasks differ by more than a factor of {SIMILAR}."
            ),
        )
    } else {
        (
            Verdict::Undecided,
            format!(
                "The intervals reach beyond a factor of {SIMILAR}, or a task has no such count."
            ),
        )
    };
    ClaimResult {
        number: 4,
        claim: "Across tasks, one model needs similar numbers of tunable parameters to exceed a random guess.",
        measure: "The largest over the smallest of its tasks' counts from which APET is above its head alone (or a guess), beyond the noise.",
        unit: "times",
        figures,
        verdict,
        reason,
    }
}

#[cfg(test)]
mod tests;
