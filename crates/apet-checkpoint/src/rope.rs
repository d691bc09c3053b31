//! Rotary positions (Su et al., 2021): the angles that config.json describes.

use serde::Deserialize;

use crate::{PlmError, checks::Checks};

/// `rope_parameters` since transformers 5, `rope_scaling` before.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of config.json")]
pub struct Rope {
    pub rope_theta: Option<f64>,
    #[serde(alias = "type")]
    pub rope_type: Option<String>,
    pub factor: Option<f64>,
    pub low_freq_factor: Option<f64>,
    pub high_freq_factor: Option<f64>,
    pub original_max_position_embeddings: Option<f64>,
}

/// transformers' own default of `rope_theta`.
pub(crate) const ROPE_THETA: f64 = 10_000.0;

/// Maximum width of a head: each pair of its numbers has an angle.
pub(crate) const MAX_HEAD: usize = 1 << 16;

impl Rope {
    /// The angle of each pair of a head's first `width` numbers from one token to the next.
    /// `theta` applies unless this has a `rope_theta`.
    ///
    /// # Errors
    /// Names the field that is missing or not supported.
    pub(crate) fn angles(
        &self,
        width: usize,
        theta: f64,
        check: &Checks<'_>,
    ) -> Result<Vec<f32>, PlmError> {
        let theta = self.rope_theta.unwrap_or(theta);
        let plain = (0..width / 2).map(|i| {
            let power = (2 * i) as f32 / width as f32;
            1.0 / libm::powf(theta as f32, power)
        });
        match self.rope_type.as_deref() {
            None | Some("default") => Ok(plain.collect()),
            Some("llama3") => {
                let field = |name: &str, value: Option<f64>| match value {
                    Some(value) => Ok(value),
                    None => check.refuse(format!(
                        "\"rope_parameters.{name}\" is missing, \"rope_type\": \"llama3\" needs it"
                    )),
                };
                let factor = field("factor", self.factor)?;
                let low = field("low_freq_factor", self.low_freq_factor)?;
                let high = field("high_freq_factor", self.high_freq_factor)?;
                let old = field(
                    "original_max_position_embeddings",
                    self.original_max_position_embeddings,
                )?;
                Ok(plain
                    .map(|angle| llama3(f64::from(angle), factor, low, high, old) as f32)
                    .collect())
            }
            Some(other) => check.refuse(format!(
                "\"rope_parameters.rope_type\": \"{other}\" is not supported (default, llama3)"
            )),
        }
    }
}

/// Llama 3's longer context: small angles are divided by `factor`, large ones stay, and those
/// between are interpolated.
fn llama3(angle: f64, factor: f64, low: f64, high: f64, old_length: f64) -> f64 {
    let wave = 2.0 * std::f64::consts::PI / angle;
    if wave > old_length / low {
        return angle / factor;
    }
    if wave < old_length / high {
        return angle;
    }
    let smooth = (old_length / wave - low) / (high - low);
    (1.0 - smooth) * angle / factor + smooth * angle
}
