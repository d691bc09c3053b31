//! Prompt tuning: virtual tokens before the embedded input.

use serde::{Deserialize, Serialize};

use crate::{
    SpecError,
    method::{MethodField, MethodInfo, MethodSpec, Values, check_deviation, refuse},
    spec::MOST,
};

/// Virtual tokens before the embedded input (Lester et al., 2021).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Prompt {
    /// The number of virtual tokens.
    pub tokens: usize,
    /// Standard deviation of their initial values.
    pub deviation: f64,
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            tokens: 100,
            deviation: 0.1,
        }
    }
}

impl MethodSpec for Prompt {
    const INFO: MethodInfo = MethodInfo {
        name: "prompt",
        title: "Prompt",
        description: "Virtual tokens in front of the input.",
        learning_rate: 1e-2,
        reference: "Lester et al., 2021, \"The Power of Scale for Parameter-Efficient Prompt Tuning\"",
        fields: &[MethodField {
            name: "tokens",
            title: "Virtual tokens",
            description: "The number of virtual tokens.",
            values: Values::Count,
        }],
    };

    fn check(&self, field: &str) -> Result<(), SpecError> {
        if self.tokens == 0 {
            return refuse(field, "tokens", "found 0, expected at least 1");
        }
        if self.tokens > MOST {
            let problem = format!("found {}, expected at most {MOST}", self.tokens);
            return refuse(field, "tokens", problem);
        }
        check_deviation(field, self.deviation)
    }
}
