//! Thetas that runs begin with, in the origin's private files: `starts/HASH.safetensors`.

use apet_record::{RunSpec, Start};
use apet_theta::Theta;
use wasm_bindgen::prelude::*;

use crate::{
    error,
    files::{OpenFile, folder},
};

/// Keeps a theta file as what a run may begin with; gives that run's spec as JSON: the one that the
/// file was made with, `start` in it.
///
/// # Errors
/// When it is no theta file of a run, or can not be kept.
#[wasm_bindgen(js_name = startWith)]
pub async fn start_with(name: String, theta: Vec<u8>) -> Result<String, JsValue> {
    let wrong = |e: String| error(format!("{name}: {e}"));
    let spec = Theta::spec_of(&theta).map_err(|e| wrong(e.to_string()))?;
    let none = || wrong("found no spec in its header, expected a theta file of a run".into());
    let spec = spec.ok_or_else(none)?;
    let mut spec = RunSpec::from_json(&spec).map_err(|e| wrong(e.to_string()))?;
    let start = Start::of(name, &theta);
    let file = OpenFile::open(&folder("starts").await?, &file_name(&start)?).await?;
    let kept = file.truncate(0.0).and_then(|()| file.write(&theta, 0.0));
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
