//! Learning rates of a study, by method and count: a fixed rate is wrong for tiny budgets
//! (paper, section 5), so each budget has a grid of its own, tuned on dev.

use apet_record::RunSpec;
use serde::{Deserialize, Serialize};

/// The grid where a study says nothing: 1e-4 to 1e-1, two a decade.
pub const GRID: [f64; 7] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1];

/// Learning rates for some of a study's runs; the first entry that fits a run counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// The method's name; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Counts up to this one, the head not counted; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// The grid.
    pub rates: Vec<f64>,
}

/// The learning rates that are tried for a method with a count of parameters.
///
/// # Errors
/// When a grid is empty or has a rate that is none; the entry is named.
pub fn rates(study: &[Rates], method: &str, count: u64) -> Result<Vec<f64>, String> {
    for (number, entry) in study.iter().enumerate() {
        let wrong = entry
            .rates
            .iter()
            .find(|rate| !(rate.is_finite() && **rate > 0.0));
        if let Some(rate) = wrong {
            return Err(format!(
                "learning_rates[{number}].rates: found {rate}, expected numbers above 0"
            ));
        }
        if entry.rates.is_empty() {
            return Err(format!(
                "learning_rates[{number}].rates: found none, expected at least one"
            ));
        }
        let fits = entry.method.as_deref().is_none_or(|name| name == method)
            && entry.up_to.is_none_or(|most| count <= most);
        if fits {
            return Ok(entry.rates.clone());
        }
    }
    Ok(GRID.to_vec())
}

/// The runs that tune a spec's learning rate: one a rate.
///
/// # Errors
/// As [`rates`].
pub fn tuning_runs(study: &[Rates], spec: &RunSpec, count: u64) -> Result<Vec<RunSpec>, String> {
    let of_rate = |rate| {
        let mut run = spec.clone();
        run.optimizer.learning_rate = rate;
        run
    };
    let rates = rates(study, spec.method.name(), count)?;
    Ok(rates.into_iter().map(of_rate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study() -> Vec<Rates> {
        let text = r#"[
            {"method": "full", "rates": [1e-5, 5e-5]},
            {"method": "apet", "up_to": 1000, "rates": [1e-2, 1e-1]},
            {"up_to": 100000, "rates": [1e-3]}
        ]"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_budget_has_its_grid() {
        let of = |method, count| rates(&study(), method, count).unwrap();
        assert_eq!(of("full", 1_000_000), [1e-5, 5e-5]);
        assert_eq!(of("apet", 1000), [1e-2, 1e-1]);
        assert_eq!(of("apet", 1001), [1e-3]);
        assert_eq!(of("lora", 200_000), GRID);
    }

    #[test]
    fn a_rate_is_a_run_of_its_own() {
        let spec = RunSpec::new("minilm-l6", "sst2");
        let runs = tuning_runs(&study(), &spec, 1000).unwrap();
        assert_eq!(runs.len(), 2);
        assert_ne!(runs[0].id(), runs[1].id());
        assert_eq!(runs[1].optimizer.learning_rate, 1e-1);
    }

    #[test]
    fn what_is_no_grid_is_refused() {
        let one = |rates: &[f64]| {
            let entry = Rates {
                method: None,
                up_to: None,
                rates: rates.to_vec(),
            };
            super::rates(&[entry], "apet", 1).unwrap_err()
        };
        assert_eq!(
            one(&[]),
            "learning_rates[0].rates: found none, expected at least one"
        );
        assert!(one(&[1e-3, 0.0]).contains("found 0, expected numbers above 0"));
        let text = serde_json::from_str::<Rates>(r#"{"rate": [1]}"#)
            .unwrap_err()
            .to_string();
        assert!(text.contains("unknown field `rate`"), "{text}");
    }
}
