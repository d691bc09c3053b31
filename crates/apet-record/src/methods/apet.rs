//! APET: any number of parameters in arbitrary positions.

use serde::{Deserialize, Serialize};

use crate::{
    Budget, Pool, Select, SpecError,
    method::{MethodField, MethodInfo, MethodSpec, Values, refuse},
    spec::is_default,
};

/// APET: a number of parameters in arbitrary positions (paper, section 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Apet {
    /// The number of parameters; exact, except with [`Select::Unit`], which stays at or below it.
    pub count: Budget,
    /// The tensors they are selected from.
    #[serde(default)]
    pub pool: Pool,
    /// The selector.
    #[serde(default, skip_serializing_if = "is_default")]
    pub select: Select,
}

impl Default for Apet {
    fn default() -> Self {
        Self {
            count: Budget::Count(10_000),
            pool: Pool::default(),
            select: Select::default(),
        }
    }
}

impl MethodSpec for Apet {
    const INFO: MethodInfo = MethodInfo {
        name: "apet",
        title: "APET",
        description: "Any number of parameters at arbitrary positions.",
        learning_rate: 1e-3,
        reference: "Chen et al., 2023, \"Exploring the Impact of Model Scaling on Parameter-Efficient Tuning\"",
        fields: &[
            MethodField {
                name: "count",
                title: "Number of parameters",
                description: "The number of parameters, a percentage of the model, or the number another method has.",
                values: Values::Budget,
            },
            MethodField {
                name: "select",
                title: "Selection",
                description: "How the parameters are selected.",
                values: Values::Select,
            },
            MethodField {
                name: "pool",
                title: "Chosen among",
                description: "The tensors the parameters are selected from.",
                values: Values::Pool,
            },
        ],
    };

    fn check(&self, field: &str) -> Result<(), SpecError> {
        if self.count == Budget::Count(0) {
            return refuse(
                field,
                "count",
                "found 0, expected at least 1 (the method \"head\" tunes nothing but the head)",
            );
        }
        self.pool.check(field)?;
        self.select.check(field)
    }

    fn label(&self) -> String {
        match &self.select {
            Select::Element => "apet".into(),
            select => format!("apet ({})", select.name()),
        }
    }
}
