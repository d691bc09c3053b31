//! How many parameters: a number, a share, or as many as a baseline has.

use apet_plm::{ModelArchitecture, Site};
use apet_record::{Baseline, Budget, Part};

/// Virtual tokens of the paper's prompt.
const TOKENS: u64 = 100;
/// Rank of the paper's LoRA.
const RANK: u64 = 8;
/// Bottleneck of the paper's adapter.
const BOTTLENECK: u64 = 24;

/// How many parameters a budget is on a model.
pub fn count(budget: Budget, architecture: &ModelArchitecture) -> u64 {
    match budget {
        Budget::Count(count) => count,
        Budget::Percent(percent) => {
            let (parameters, _) = architecture.parameters();
            ((parameters as f64 * percent / 100.0).round() as u64).max(1)
        }
        Budget::As(baseline) => closed_form(baseline, architecture),
    }
}

/// The count of a baseline with the paper's defaults, from the model's shapes (paper,
/// section 3). LoRA counts self-attention only. BitFit counts every true bias; where
/// a model has none, one for every output of its linear layers outside cross-attention,
/// its norms and its own head.
pub fn closed_form(baseline: Baseline, architecture: &ModelArchitecture) -> u64 {
    let sites = architecture.sites.iter().filter(|site| !site.cross);
    let sum = |of: &dyn Fn(&Site) -> u64| -> u64 { sites.clone().map(of).sum() };
    match baseline {
        Baseline::Prompt => TOKENS * architecture.config.hidden() as u64,
        Baseline::Lora => sum(&|site| match (site.part, &site.shape[..]) {
            (Part::Query | Part::Value, [outputs, inputs]) => RANK * (outputs + inputs) as u64,
            _ => 0,
        }),
        Baseline::Adapter => architecture
            .insertion_points
            .iter()
            .filter(|place| place.after.is_some())
            .map(|place| (2 * BOTTLENECK + 1) * place.width as u64 + BOTTLENECK)
            .sum(),
        Baseline::Bitfit if architecture.sites.iter().any(Site::is_bias) => {
            sum(&|site| if site.is_bias() { site.len() as u64 } else { 0 })
        }
        Baseline::Bitfit => sum(&|site| match site.part {
            Part::Embedding => 0,
            _ => site.shape[0] as u64,
        }),
    }
}
