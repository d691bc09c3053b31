//! What every method has: its fields with their bounds, and what a reader is told of it.

use serde::{Serialize, de::DeserializeOwned};

use crate::SpecError;

/// A method of fine-tuning: the fields of a spec that only it has.
pub trait MethodSpec: Clone + PartialEq + Default + Serialize + DeserializeOwned {
    /// Its name, its description and its default learning rate.
    const INFO: MethodInfo;

    /// Checks every bound that does not depend on a model; `field` is the method's path in an error.
    ///
    /// # Errors
    /// Names the first field outside its bounds.
    fn check(&self, field: &str) -> Result<(), SpecError>;

    /// The name in tables and figures.
    fn label(&self) -> String {
        Self::INFO.name.into()
    }
}

/// Facts about a method, the same for the command line, the page and the docs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MethodInfo {
    /// The name in a spec: `"layer_norm"`.
    pub name: &'static str,
    /// The name in a menu: `"LayerNorm tuning"`.
    pub title: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Peak learning rate of a run that names none.
    pub learning_rate: f64,
    /// The paper that introduced it; empty if there is none.
    pub reference: &'static str,
    /// The fields that a form or the command line sets, in the order of a form.
    pub fields: &'static [MethodField],
}

impl MethodInfo {
    /// Whether the method has a field.
    pub fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|own| own.name == field)
    }
}

/// A field of a method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MethodField {
    /// The name in a spec.
    pub name: &'static str,
    /// The label in a form.
    pub title: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// The values it takes.
    pub values: Values,
}

/// The values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// A whole number of at least 1.
    Count,
    /// A real number.
    Number,
    /// A list of names.
    Names,
    /// A number of parameters, a percentage or `"as METHOD"`.
    Budget,
    /// The tensors that may be tuned.
    Pool,
    /// A selector.
    Select,
}

/// An error in a method's field.
pub(crate) fn refuse<T>(
    field: &str,
    name: &str,
    problem: impl Into<String>,
) -> Result<T, SpecError> {
    Err(SpecError {
        field: format!("{field}.{name}"),
        problem: problem.into(),
    })
}

/// Checks a standard deviation of initial values.
pub(crate) fn check_deviation(field: &str, value: f64) -> Result<(), SpecError> {
    match value {
        d if (0.0..=1e3).contains(&d) => Ok(()),
        d => refuse(
            field,
            "deviation",
            format!("found {d}, expected a number from 0 to 1000"),
        ),
    }
}
