//! Activations, by their names in config.json.

use serde::{Deserialize, Deserializer, de::Error as _};

/// An activation function, by the name that transformers gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu`: x Φ(x), Φ the normal distribution function.
    Gelu,
    /// `gelu_new`, `gelu_pytorch_tanh`: GELU's approximation by tanh.
    GeluTanh,
    /// `relu`
    Relu,
    /// `silu`: x σ(x), σ the logistic function.
    Silu,
}

impl Activation {
    pub(crate) fn by_name(name: &str) -> Result<Self, String> {
        Ok(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "relu" => Self::Relu,
            "silu" => Self::Silu,
            other => {
                return Err(format!(
                    "\"{other}\" is not supported (gelu, gelu_new, relu, silu)"
                ));
            }
        })
    }
}

impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::by_name(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
