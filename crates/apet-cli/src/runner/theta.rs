//! A theta file on its model: what it was learned for, its values, and forward passes with it.

use anyhow::{Context, Result, ensure};
use apet_plm::{Frozen, Kind, LayerHooks, Plm};
use apet_record::{Objective, Pooling};
use apet_store::{Store, theta::ThetaFile};
use apet_theta::{Leaves, Theta};

/// What an imported theta is for, in the file's header.
pub(crate) const OBJECTIVE: &str = "apet_objective";
/// The same of its head.
pub(crate) const POOLING: &str = "apet_pooling";

/// What a theta file was learned for.
///
/// # Errors
/// When the file says something that is none.
pub(crate) fn purpose(file: &ThetaFile, plm: &Plm) -> Result<(Objective, Pooling)> {
    if let Some(spec) = file.spec()? {
        return Ok((spec.objective, spec.head.pooling));
    }
    let word = |key: &str| file.metadata(key).map(|word| serde_json::json!(word));
    let objective = match word(OBJECTIVE) {
        Some(word) => serde_json::from_value(word)?,
        None if plm.kind() == Kind::Encoder => Objective::ClassHead,
        None => Objective::LabelWords,
    };
    let pooling = match word(POOLING) {
        Some(word) => serde_json::from_value(word)?,
        None => Pooling::default(),
    };
    Ok((objective, pooling))
}

/// Puts a theta file onto its model.
///
/// # Errors
/// Names what does not fit.
pub(crate) fn onto(file: &ThetaFile, plm: &Plm) -> Result<Theta> {
    let theta = Theta::read(plm, file.bytes());
    theta.with_context(|| file.path().display().to_string())
}

/// A theta for forward passes without gradients; or none, and the model is as it is.
pub(crate) struct ConstantTheta(Option<(Theta, Leaves)>);

impl ConstantTheta {
    /// Puts the theta of an option onto its model, where one is given.
    ///
    /// # Errors
    /// As [`ThetaFile::open`] and [`onto`].
    pub(crate) fn open(store: &Store, given: Option<&str>, plm: &Plm) -> Result<Self> {
        let theta = given.map(|given| onto(&ThetaFile::open(store, given)?, plm));
        let theta = theta.transpose()?;
        Ok(Self(theta.map(|theta| {
            let constants = theta.constants();
            (theta, constants)
        })))
    }

    /// What it does in a forward pass.
    pub(crate) fn hooks(&self) -> Box<dyn LayerHooks + '_> {
        match &self.0 {
            Some((theta, constants)) => Box::new(theta.hooks(constants)),
            None => Box::new(Frozen),
        }
    }
}

/// Reads theta's values.
///
/// # Errors
/// When the device fails.
pub(crate) fn values(theta: &Theta) -> Result<Vec<f32>> {
    let data = futures_lite::future::block_on(theta.values().into_data_async())?;
    let values: Vec<f32> = data.iter::<f32>().collect();
    ensure!(
        values.iter().all(|v| v.is_finite()),
        "theta has values that are no numbers"
    );
    Ok(values)
}
