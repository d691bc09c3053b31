//! The method of a run that goes on with an adapter of peft.

use apet_record::{Method, Objective, Pooling};
use serde_json::{Map, Value};

use super::config_error;
use crate::{file::FileError, theta::Theta};

impl Theta {
    /// What an adapter's head is for, by the `task_type` of its `adapter_config.json`: transformers'
    /// classifiers take the pooler's output, generators answer in words.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn peft_purpose(config: &str) -> Result<(Objective, Pooling), FileError> {
        Ok(match word(&object(config)?, "task_type") {
            "SEQ_CLS" => (Objective::ClassHead, Pooling::Pooler),
            "CAUSAL_LM" | "SEQ_2_SEQ_LM" => (Objective::LabelWords, Pooling::Mean),
            _ => (Objective::ClassHead, Pooling::Mean),
        })
    }

    /// The method that puts the same weights into a model as the adapter of an `adapter_config.json` has.
    ///
    /// # Errors
    /// Names the field that no method of ours has; positions that were drawn elsewhere belong to none.
    pub fn peft_method(config: &str) -> Result<Method, FileError> {
        let config = object(config)?;
        let found = |field: &str| config.get(field).unwrap_or(&Value::Null);
        let whole = |field: &str| {
            found(field).as_u64().ok_or_else(|| {
                config_error(format!(
                    "{field}: found {}, expected a whole number",
                    found(field)
                ))
            })
        };
        match word(&config, "peft_type") {
            "LORA" => {
                for field in ["rank_pattern", "alpha_pattern"] {
                    let set = config.get(field).and_then(Value::as_object);
                    if set.is_some_and(|patterns| !patterns.is_empty()) {
                        return Err(config_error(format!(
                            "{field}: found one, expected one rank and alpha for all layers to go on"
                        )));
                    }
                }
                let rank = whole("r")? as usize;
                let alpha = found("lora_alpha").as_f64();
                let mut alpha = alpha.ok_or_else(|| {
                    config_error("lora_alpha: found no number, expected one".into())
                })?;
                if config.get("use_rslora") == Some(&Value::Bool(true)) {
                    alpha *= (rank as f64).sqrt(); // scaled by alpha / sqrt(r) there
                }
                let targets = names(&config, "target_modules")?;
                Ok(Method::Lora(apet_record::Lora {
                    rank,
                    alpha,
                    targets,
                }))
            }
            "PROMPT_TUNING" => Ok(Method::Prompt(apet_record::Prompt {
                tokens: whole("num_virtual_tokens")? as usize,
                deviation: 0.0, // of initial values: the adapter's stand in their place
            })),
            "IA3" => {
                let inputs = names(&config, "feedforward_modules")?;
                let mut outputs = names(&config, "target_modules")?;
                outputs.retain(|name| !inputs.contains(name));
                Ok(Method::Ia3(apet_record::Ia3 { outputs, inputs }))
            }
            "LN_TUNING" => Ok(Method::LayerNorm(Default::default())),
            other => Err(config_error(format!(
                "peft_type: found \"{other}\", expected LORA, PROMPT_TUNING, IA3 or LN_TUNING to go on with"
            ))),
        }
    }
}

pub(super) fn object(config: &str) -> Result<Map<String, Value>, FileError> {
    serde_json::from_str(config).map_err(|e| config_error(format!("{e}, expected an object")))
}

fn word<'a>(config: &'a Map<String, Value>, field: &str) -> &'a str {
    config
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Ends of layers' names; peft also takes one regular expression, which is no list of ours.
fn names(config: &Map<String, Value>, field: &str) -> Result<Vec<String>, FileError> {
    match config.get(field) {
        Some(Value::String(all)) if all == "all-linear" => Ok(vec![all.clone()]),
        Some(Value::Array(found)) => {
            let words = found.iter().filter_map(Value::as_str);
            let mut words: Vec<String> = words.map(str::to_owned).collect();
            words.sort_unstable(); // peft writes a set
            Ok(words)
        }
        found => Err(config_error(format!(
            "{field}: found {}, expected a list of layers' names",
            found.unwrap_or(&Value::Null)
        ))),
    }
}
