//! Full fine-tuning.

use serde::{Deserialize, Serialize};

use crate::{
    Pool, SpecError,
    method::{MethodField, MethodInfo, MethodSpec, Values},
};

/// Every tensor of the model, or every tensor of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Full {
    /// The tensors; every one, embeddings included, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
}

impl MethodSpec for Full {
    const INFO: MethodInfo = MethodInfo {
        name: "full",
        title: "Full",
        description: "Every weight of the model.",
        learning_rate: 5e-5,
        reference: "",
        fields: &[MethodField {
            name: "pool",
            title: "Chosen among",
            description: "The tensors that are tuned; every one by default.",
            values: Values::Pool,
        }],
    };

    fn check(&self, field: &str) -> Result<(), SpecError> {
        self.pool.as_ref().map_or(Ok(()), |pool| pool.check(field))
    }
}
