//! The families of models: one file and one line in [`families!`] each. All else in this crate
//! reads what a family says of itself ([`FamilyInfo`]).

use serde::de::DeserializeOwned;

use crate::{
    PlmError,
    checks::Checks,
    family::{Dimensions, Family, FamilyInfo},
};

/// Declares each family's module and the types that are made of all of them.
macro_rules! families {
    ($($file:ident::$name:ident,)+) => {
        $(pub mod $file;)+

        /// A checked config.json, by family.
        #[derive(Clone, Debug)]
        pub enum Config {
            $(
                #[doc = concat!("See [`", stringify!($file), "`].")]
                $name(Box<$file::$name>),
            )+
        }

        /// Every family, in the order of error messages.
        pub const FAMILIES: &[FamilyInfo] = &[$($file::$name::INFO),+];

        impl Config {
            /// Parses and checks a config.json of a `model_type`. None where no family has it.
            pub(crate) fn parse(
                model_type: &str,
                file: &str,
                text: &str,
            ) -> Option<Result<Self, PlmError>> {
                $(if $file::$name::INFO.model_types.contains(&model_type) {
                    let config = checked::<$file::$name>(file, text);
                    return Some(config.map(|config| Self::$name(Box::new(config))));
                })+
                None
            }

            /// What all models of its family have in common.
            pub fn info(&self) -> FamilyInfo {
                match self {
                    $(Self::$name(_) => $file::$name::INFO,)+
                }
            }

            /// Its family, as config.json's `model_type` names it.
            pub fn family(&self) -> &str {
                match self {
                    $(Self::$name(config) => config.model_type(),)+
                }
            }

            /// Its sizes.
            pub fn dimensions(&self) -> Dimensions {
                match self {
                    $(Self::$name(config) => config.dimensions(),)+
                }
            }
        }
    };
}

families! {
    bert::Bert,
    mpnet::Mpnet,
    bloom::Bloom,
    llama::Llama,
    gpt_neox::GptNeoX,
    t5::T5,
}

fn checked<F: Family>(file: &str, text: &str) -> Result<F, PlmError> {
    let mut config: F = fields(file, text)?;
    config.check(&Checks(file))?;
    Ok(config)
}

/// Reads the fields that `T` has; others are ignored.
pub(crate) fn fields<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, PlmError> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        PlmError::new(file, format!("field \"{path}\": {}", e.inner()))
    })
}
