//! What runs say about the paper's four claims (Su et al., 2023), in either direction, with intervals.

use serde::Serialize;

use super::bootstrap::Estimate;
use super::cells::{
    CellsByTask, MethodCell, MethodKey, ModelCells, ModelTasks, TaskCells, model_cells,
};
use super::measures::{
    across_methods, apart, between_tasks, high_threshold, low_threshold, nearer_to_apet,
    over_tasks, without_noise,
};
use crate::records::entries::{Entry, Study};

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
    /// The verdict as text.
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
    /// The reason for the verdict.
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

/// The cells that claims are judged by, with the runs that they are made of.
pub(crate) struct Evidence {
    all: ModelCells,
    /// Those of the tasks that all models have.
    common: ModelCells,
    /// Runs with a score.
    pub(crate) runs: usize,
    /// Runs without one.
    pub(crate) left_out: usize,
}

impl Evidence {
    pub(crate) fn from_entries<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let (all, runs, left_out) = model_cells(entries);
        Self {
            common: all.common(),
            all,
            runs,
            left_out,
        }
    }

    /// What the cells say about a claim, by its number from 1 to 4.
    pub(crate) fn claim(&self, number: usize) -> ClaimResult {
        let mean_of_cell = |cells_of_task: &TaskCells, at: usize| {
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
        let common = &self.common;
        let (estimates, falls) = match number {
            1 => common.estimates("methods", methods, without_noise, percent),
            2 => common.estimates("positions", positions, nearer_to_apet, percent),
            3 => common.estimates("high threshold", high, mean_of_cell, count),
            _ => {
                let all = &self.all;
                let (low, _) = all.estimates("low threshold", between_tasks, mean_of_cell, count);
                return similar(low, all);
            }
        };
        falling(number, estimates, common.ends(), falls)
    }

    /// Keys of the runs that a claim is judged by, for each model in the order of [`ClaimResult::figures`].
    pub(crate) fn keys(&self, number: usize) -> Vec<Vec<String>> {
        let is_used = |key: &MethodKey| match number {
            1 => matches!(key, MethodKey::Other(_)),
            2 => matches!(key, MethodKey::Other(_) | MethodKey::Apet),
            3 => !matches!(key, MethodKey::Other(_)),
            _ => matches!(key, MethodKey::Apet | MethodKey::Head),
        };
        let cells = if number < 4 { &self.common } else { &self.all };
        let of_model = |(_, by_task): &ModelTasks| {
            let cells = by_task.values().flat_map(|task| &task.cells);
            let used = cells.filter(|cell| is_used(&cell.key));
            used.flat_map(|cell| cell.keys.clone()).collect()
        };
        cells.models.iter().map(of_model).collect()
    }
}

/// An answer to a claim that something falls with scale, from the first of the `ends` to the last.
pub(super) fn falling(
    number: usize,
    figures: Vec<Estimate>,
    ends: Option<(usize, usize)>,
    falls: Option<f64>,
) -> ClaimResult {
    let verdict = Verdict::from_share(falls);
    let (claim, measure, unit, thing) = match number {
        1 => (
            "Small models: methods differ noticeably; with scale the difference becomes marginal.",
            "Standard deviation across prompt, BitFit, adapter, LoRA and other methods at their own counts, after subtracting the spread that seeds cause.",
            "points",
            "the spread across methods",
        ),
        2 => (
            "Scale mitigates the effect of where tunable parameters are.",
            "Distance of each method from APET with as many parameters in arbitrary positions (root mean square), after subtracting the spread that seeds cause.",
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
                "The study cannot estimate it, or its interval, for {}.",
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
pub(super) fn similar(figures: Vec<Estimate>, model_cells: &ModelCells) -> ClaimResult {
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

impl Study {
    /// What the runs say about the paper's four claims: `runs` (keys or run ids), or all.
    pub fn claims(&self, runs: Option<&[String]>) -> ClaimResults {
        let evidence = self.evidence(runs);
        ClaimResults {
            runs: evidence.runs,
            left_out: evidence.left_out,
            claims: (1..=4).map(|number| evidence.claim(number)).collect(),
        }
    }

    /// The cells of `runs` (keys or run ids), or of all.
    pub(crate) fn evidence(&self, runs: Option<&[String]>) -> Evidence {
        Evidence::from_entries(self.once(runs))
    }
}
