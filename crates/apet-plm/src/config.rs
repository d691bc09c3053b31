//! What the families' config.json have in common.

use apet_kernels::{gelu, gelu_tanh};
use burn::{Tensor, tensor::activation};
use serde::de::DeserializeOwned;

use crate::PlmError;

/// Reads the fields of config.json that a family knows; others are ignored.
pub(crate) fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, PlmError> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        PlmError::new(file, format!("field \"{path}\": {}", e.inner()))
    })
}

/// Refuses what a family can not compute, by the field's name.
pub(crate) struct Checks<'a>(pub(crate) &'a str);

impl Checks<'_> {
    pub(crate) fn refuse<T>(&self, problem: String) -> Result<T, PlmError> {
        Err(PlmError::new(self.0, problem))
    }

    /// Sizes from 1 to 2^31: beyond it no tensor of the model could be addressed.
    pub(crate) fn sizes(&self, fields: &[(&str, usize)]) -> Result<(), PlmError> {
        match fields
            .iter()
            .find(|(_, size)| *size == 0 || *size >= 1 << 31)
        {
            Some((field, size)) => self.refuse(format!(
                "\"{field}\": {size}, expected a number from 1 to 2^31"
            )),
            None => Ok(()),
        }
    }

    /// A number of blocks: more than any model has would only take memory.
    pub(crate) fn blocks(&self, field: &str, count: usize) -> Result<(), PlmError> {
        if count == 0 || count > 1000 {
            return self.refuse(format!(
                "\"{field}\": {count}, expected a number from 1 to 1000"
            ));
        }
        Ok(())
    }

    pub(crate) fn divides(
        &self,
        (part, count): (&str, usize),
        (whole, size): (&str, usize),
    ) -> Result<(), PlmError> {
        if count == 0 || !size.is_multiple_of(count) {
            return self.refuse(format!(
                "\"{part}\": {count} does not divide \"{whole}\": {size}"
            ));
        }
        Ok(())
    }

    /// A table of relative positions.
    pub(crate) fn buckets(
        &self,
        field: &str,
        count: usize,
        farthest: usize,
    ) -> Result<(), PlmError> {
        // Half of a direction's buckets hold one distance each, the rest reach to `farthest`.
        if count < 4 || !count.is_multiple_of(2) || count / 2 >= farthest || count >= 1 << 16 {
            return self.refuse(format!(
                "\"{field}\": {count}, expected an even number from 4, its half below {farthest}"
            ));
        }
        Ok(())
    }

    /// Switches that must be off.
    pub(crate) fn off(&self, fields: &[(&str, bool)]) -> Result<(), PlmError> {
        match fields.iter().find(|(_, on)| *on) {
            Some((field, _)) => self.refuse(format!("\"{field}\": true is not supported (false)")),
            None => Ok(()),
        }
    }
}

/// An activation by the name transformers gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
    Silu,
}

impl Activation {
    pub(crate) fn by_name(file: &str, field: &str, name: &str) -> Result<Self, PlmError> {
        Ok(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "relu" => Self::Relu,
            "silu" => Self::Silu,
            other => {
                return Err(PlmError::new(
                    file,
                    format!(
                        "\"{field}\": \"{other}\" is not supported (gelu, gelu_new, relu, silu)"
                    ),
                ));
            }
        })
    }

    pub(crate) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Relu => activation::relu(x),
            Self::Silu => activation::silu(x),
        }
    }
}
