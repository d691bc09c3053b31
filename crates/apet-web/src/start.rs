//! Thetas that runs begin with, in the origin's private files: `starts/HASH.safetensors`.

use std::collections::HashMap;

use apet_record::{RunSpec, Start};
use apet_theta::{FileError, Layout, Theta};
use wasm_bindgen::prelude::*;

use crate::{
    error,
    files::{OpenFile, folder},
    lab::{Lab, values},
};

/// Stores a theta file from which a run can be initialised, and returns that run's spec as JSON: the spec of the
/// file, with `start` set.
///
/// # Errors
/// If it is not a run's theta file, or cannot be stored.
#[wasm_bindgen(js_name = startWith)]
pub async fn start_with(name: String, theta: Vec<u8>) -> Result<String, JsValue> {
    let wrong = |e: String| error(format!("{name}: {e}"));
    let spec = Theta::spec_of(&theta).map_err(|e| wrong(e.to_string()))?;
    let none = || wrong("found no spec in its header, expected a theta file of a run".into());
    let spec = spec.ok_or_else(none)?;
    let spec = RunSpec::from_json(&spec).map_err(|e| wrong(e.to_string()))?;
    keep(spec, name, &theta).await
}

#[wasm_bindgen]
impl Lab {
    /// Keeps an adapter of peft, read onto the loaded model, as what a run of `spec` may begin with; gives
    /// that run's spec as JSON: with the adapter's method, `start` in it.
    ///
    /// # Errors
    /// Names the field or tensor of the adapter that no method of ours has, or that the model does not take.
    #[wasm_bindgen(js_name = startWithAdapter)]
    pub async fn start_with_adapter(
        &self,
        spec: String,
        name: String,
        config: String,
        weights: Vec<u8>,
    ) -> Result<String, JsValue> {
        let wrong = |e: FileError| error(format!("{name}: {e}"));
        let plm = self.model()?;
        let theta = Theta::from_peft(&plm, &config, &weights).map_err(wrong)?;
        let mut spec = RunSpec::from_json(&spec).map_err(error)?;
        spec.method = Theta::peft_method(&config).map_err(wrong)?;
        (spec.objective, spec.head.pooling) = Theta::peft_purpose(&config).map_err(wrong)?;
        let layout = Layout::new(
            plm.architecture(),
            &spec,
            self.classes(),
            None,
            plm.device(),
        );
        let planned = Theta::of(&plm, spec.seeds.init, layout.map_err(error)?);
        theta
            .check_same(&planned, plm.architecture())
            .map_err(wrong)?;
        let values = values(&theta).await?;
        let file = theta.to_safetensors(plm.architecture(), &values, HashMap::new());
        keep(spec, name.clone(), &file.map_err(wrong)?).await
    }
}

/// Keeps a theta file; gives the spec of a run that begins with it, as JSON.
async fn keep(mut spec: RunSpec, name: String, theta: &[u8]) -> Result<String, JsValue> {
    let start = Start::of(name, theta);
    let file = OpenFile::open(&folder("starts").await?, &file_name(&start)?).await?;
    let kept = file.truncate(0.0).and_then(|()| file.write(theta, 0.0));
    kept.and_then(|()| file.flush()).map_err(error)?;
    spec.start = Some(start);
    serde_json::to_string(&spec).map_err(error)
}

/// The theta file that a spec begins with.
///
/// # Errors
/// When it is not there.
pub(crate) async fn of(spec: &RunSpec) -> Result<Option<Vec<u8>>, JsValue> {
    let Some(start) = &spec.start else {
        return Ok(None);
    };
    let file = OpenFile::open(&folder("starts").await?, &file_name(start)?).await?;
    let bytes = file.read().map_err(error)?;
    if bytes.is_empty() {
        let Start { theta, .. } = start;
        return Err(error(format!(
            "start.theta: found no {theta} in this browser, expected the theta that the run begins with; load its file in the Lab"
        )));
    }
    Ok(Some(bytes))
}

fn file_name(start: &Start) -> Result<String, JsValue> {
    let Start { hash, .. } = start;
    match hash.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(format!("{hash}.safetensors")),
        false => Err(error(format!(
            "start.hash: found {hash:?}, expected hexadecimal digits"
        ))),
    }
}
