//! All methods. A method is one file here and one file of the same name in `apet-theta`, and a line
//! in the registry of each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    SpecError,
    method::{MethodInfo, MethodSpec, refuse},
};

/// Makes the modules, [`Method`] and `with_method!` from the list of methods below.
macro_rules! methods {
    ($d:tt $($module:ident :: $variant:ident,)*) => {
        $(mod $module;)*
        $(pub use $module::$variant;)*

        /// The method: which deltas a run trains in addition to the head. Counts never include the head.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(tag = "name", rename_all = "snake_case")]
        #[expect(missing_docs, reason = "each variant is documented at its struct")]
        pub enum Method {
            $($variant($variant),)*
            /// Several methods in one theta.
            Combined(Combined),
            /// A run of another program.
            Foreign(Foreign),
        }

        $(impl From<$variant> for Method {
            fn from(method: $variant) -> Self {
                Self::$variant(method)
            }
        })*

        impl Method {
            /// Facts about every method that a run can have, in the order of a menu.
            pub const INFO: &'static [MethodInfo] = &[$($variant::INFO,)*];

            /// A method with its defaults; none if no method has this name.
            pub fn by_name(name: &str) -> Option<Self> {
                $(if name == $variant::INFO.name {
                    return Some($variant::default().into());
                })*
                None
            }

            /// Facts about it; none about combined methods and other programs' runs.
            pub fn info(&self) -> Option<&'static MethodInfo> {
                let name = match self {
                    $(Self::$variant(_) => $variant::INFO.name,)*
                    Self::Combined(_) | Self::Foreign(_) => return None,
                };
                Self::INFO.iter().find(|info| info.name == name)
            }
        }

        /// Evaluates an expression with a name bound to the struct of a [`Method`](crate::Method)'s
        /// variant, whatever the variant is.
        #[macro_export]
        macro_rules! with_method {
            ($d method:expr, $d bound:ident => $d body:expr) => {
                match $d method {
                    $($crate::Method::$variant($d bound) => $d body,)*
                    $crate::Method::Combined($d bound) => $d body,
                    $crate::Method::Foreign($d bound) => $d body,
                }
            };
        }
    };
}

methods! { $
    apet::Apet,
    lora::Lora,
    dora::Dora,
    prompt::Prompt,
    adapter::Adapter,
    ia3::Ia3,
    layer_norm::LayerNorm,
    bitfit::Bitfit,
    head::Head,
    full::Full,
}

pub use crate::foreign::Foreign;
pub use adapter::SubLayer;
pub(crate) use lora::{lora_alpha, lora_rank, lora_targets};

/// Several methods in one theta.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Combined {
    /// The methods; none of them is combined itself.
    pub parts: Vec<Method>,
}

impl Combined {
    /// As [`MethodSpec::check`].
    ///
    /// # Errors
    /// Names the first part that adds nothing, or the first field outside its bounds.
    pub fn check(&self, field: &str) -> Result<(), SpecError> {
        if self.parts.is_empty() {
            return refuse(
                field,
                "parts",
                "found an empty list, expected at least one of the methods",
            );
        }
        for (number, part) in self.parts.iter().enumerate() {
            let field = format!("{field}.parts[{number}]");
            if matches!(
                part,
                Method::Combined(_) | Method::Head(_) | Method::Foreign(_)
            ) {
                return Err(SpecError {
                    field,
                    problem: format!(
                        "found \"{}\", expected a method that adds something",
                        part.name()
                    ),
                });
            }
            part.check(&field)?;
        }
        Ok(())
    }

    /// The names of its parts.
    pub fn label(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Method::label).collect();
        parts.join(" + ")
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::Apet(Apet::default())
    }
}

impl Method {
    /// The name in a spec; of another program's run, the name of its method.
    pub fn name(&self) -> &str {
        match (self.info(), self) {
            (Some(info), _) => info.name,
            (None, Self::Foreign(foreign)) => &foreign.method,
            (None, _) => "combined",
        }
    }

    /// The name, with APET's selector unless it is the default one: `apet (rows)`; of another program's
    /// run, the run's name there: `peft lora/llama-3.2-3B-rank32`.
    pub fn label(&self) -> String {
        with_method!(self, method => method.label())
    }

    /// Whether every tensor of the model is tuned.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Foreign(foreign) => foreign.method == "full",
            other => *other == Self::full(),
        }
    }

    /// APET's fields, if this is APET.
    pub fn apet(&self) -> Option<&Apet> {
        match self {
            Self::Apet(apet) => Some(apet),
            _ => None,
        }
    }

    /// APET's fields, if this is APET.
    pub fn apet_mut(&mut self) -> Option<&mut Apet> {
        match self {
            Self::Apet(apet) => Some(apet),
            _ => None,
        }
    }

    /// Every tensor of the model.
    pub fn full() -> Self {
        Full::default().into()
    }

    /// LoRA as in the paper: rank 8, alpha 16, on queries and values.
    pub fn lora() -> Self {
        Lora::default().into()
    }

    /// The paper's prompt: 100 virtual tokens from N(0, 0.1).
    pub fn prompt() -> Self {
        Prompt::default().into()
    }

    /// The paper's adapter: bottleneck 24, two adapters a block.
    pub fn adapter() -> Self {
        Adapter::default().into()
    }

    /// IA3 with its authors' settings.
    pub fn ia3() -> Self {
        Ia3::default().into()
    }

    /// The methods it consists of: itself, or its parts.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Combined(combined) => &combined.parts,
            one => std::slice::from_ref(one),
        }
    }

    /// The value of a field, as JSON.
    pub fn get(&self, field: &str) -> Option<Value> {
        serde_json::to_value(self).ok()?.get(field).cloned()
    }

    /// Sets a field.
    ///
    /// # Errors
    /// When the method does not have the field, or the field does not take the value.
    pub fn set(&mut self, field: &str, value: Value) -> Result<(), SpecError> {
        let wrong = |problem: String| SpecError {
            field: format!("method.{field}"),
            problem,
        };
        let mut fields = serde_json::to_value(&*self).map_err(|e| wrong(e.to_string()))?;
        fields[field] = value;
        *self = serde_json::from_value(fields).map_err(|e| wrong(e.to_string()))?;
        Ok(())
    }

    /// Checks every bound that does not depend on a model; `field` is the method's path in an error.
    ///
    /// # Errors
    /// Names the first field outside its bounds.
    pub fn check(&self, field: &str) -> Result<(), SpecError> {
        with_method!(self, method => method.check(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_fields_and_facts() {
        for info in Method::INFO {
            let method = Method::by_name(info.name).unwrap();
            assert_eq!(method.name(), info.name);
            assert_eq!(method.info(), Some(info));
            method.check("method").unwrap();
            let text = serde_json::to_string(&method).unwrap();
            assert!(
                text.starts_with(&format!("{{\"name\":\"{}\"", info.name)),
                "{text}"
            );
            assert_eq!(serde_json::from_str::<Method>(&text).unwrap(), method);
            let short = format!(r#"{{"name":"{}","magic":1}}"#, info.name);
            let error = serde_json::from_str::<Method>(&short)
                .unwrap_err()
                .to_string();
            assert!(error.contains("unknown field `magic`"), "{error}");
            assert!(info.description.ends_with('.') && info.learning_rate > 0.0);
            for field in info.fields {
                // Fields that are left out of a spec have no value in JSON.
                if let Some(value) = method.get(field.name) {
                    method.clone().set(field.name, value).unwrap();
                }
            }
        }
    }
}
