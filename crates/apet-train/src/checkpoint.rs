//! Everything a run needs to go on: theta, the optimizer, the best so far.

use std::collections::HashMap;

use apet_theta::Placed;
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{TrainError, trainer::read};

/// How far a run is, and what was best.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) run: String,
    pub(crate) step: usize,
    pub(crate) best_step: usize,
    pub(crate) best_dev: Option<f64>,
    /// Evaluations since the best one.
    pub(crate) waited: usize,
    pub(crate) seconds: f64,
}

/// The tensors of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// `[parameters]`
    pub(crate) values: Tensor<1>,
    /// As [`crate::AdamW`] has them, `[2 parameters]`.
    pub(crate) moments: Tensor<1>,
    /// `[parameters]`
    pub(crate) best: Tensor<1>,
}

/// Where theta's places were chosen by values or gradients they are kept: another device
/// might choose others.
const CHOSEN: &str = "chosen";

/// A checkpoint as a safetensors file.
pub(crate) async fn write(
    state: State,
    progress: &Progress,
    chosen: Option<&Placed>,
) -> Result<Vec<u8>, TrainError> {
    let wrong = |e: String| TrainError::Checkpoint(e);
    let parameters = state.values.dims()[0];
    let mut data = Vec::new();
    for (name, tensor) in [
        ("values", state.values),
        ("first", state.moments.clone().slice(0..parameters)),
        ("second", state.moments.slice(parameters..2 * parameters)),
        ("best", state.best),
    ] {
        let bytes: Vec<u8> = read(tensor)
            .await?
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        data.push((name, bytes));
    }
    let mut views = Vec::new();
    for (name, bytes) in &data {
        let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
        views.push((*name, view.map_err(|e| wrong(e.to_string()))?));
    }
    // For each site: its number, how many, and the places.
    let chosen = chosen.into_iter().flatten().flat_map(|(site, places)| {
        let lead = [*site as u64, places.len() as u64];
        lead.into_iter().chain(places.iter().copied())
    });
    let chosen: Vec<u8> = chosen.flat_map(u64::to_le_bytes).collect();
    if !chosen.is_empty() {
        let view = TensorView::new(Dtype::U64, vec![chosen.len() / 8], &chosen);
        views.push((CHOSEN, view.map_err(|e| wrong(e.to_string()))?));
    }
    let progress = serde_json::to_string(progress).map_err(|e| wrong(e.to_string()))?;
    let metadata = HashMap::from([("apet_checkpoint".to_owned(), progress)]);
    safetensors::serialize(views, Some(metadata)).map_err(|e| wrong(e.to_string()))
}

/// The furthest of some checkpoints of the run `run`; one that was cut in its
/// writing, or is of another run, is passed over.
pub fn newest(candidates: Vec<Vec<u8>>, run: &str) -> Option<Vec<u8>> {
    candidates
        .into_iter()
        .filter_map(|bytes| {
            SafeTensors::deserialize(&bytes).ok()?;
            let progress = progress(&bytes).ok()?;
            (progress.run == run).then_some((progress.step, bytes))
        })
        .max_by_key(|(step, _)| *step)
        .map(|(_, bytes)| bytes)
}

fn progress(bytes: &[u8]) -> Result<Progress, TrainError> {
    let wrong = |e: String| TrainError::Checkpoint(e);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(e.to_string()))?;
    let text = header
        .metadata()
        .as_ref()
        .and_then(|m| m.get("apet_checkpoint"))
        .ok_or_else(|| wrong("no field \"apet_checkpoint\" in its header".into()))?;
    serde_json::from_str(text).map_err(|e| wrong(e.to_string()))
}

/// The chosen places that a checkpoint keeps, if it does.
pub(crate) fn chosen(bytes: &[u8]) -> Option<Placed> {
    let file = SafeTensors::deserialize(bytes).ok()?;
    let view = file.tensor(CHOSEN).ok()?;
    let words = view.data().chunks_exact(8);
    let mut words = words.filter_map(|b| b.try_into().ok().map(u64::from_le_bytes));
    let mut placed = Placed::new();
    while let (Some(site), Some(count)) = (words.next(), words.next()) {
        let places = words.by_ref().take(count as usize).collect();
        placed.push((site as usize, places));
    }
    Some(placed)
}

/// Reads a checkpoint of the run `run` with `parameters` scalars.
pub(crate) fn parse(
    bytes: &[u8],
    run: &str,
    parameters: usize,
    device: &Device,
) -> Result<(State, Progress), TrainError> {
    let wrong = |e: String| TrainError::Checkpoint(e);
    let file = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
    let progress = progress(bytes)?;
    if progress.run != run {
        let found = &progress.run;
        return Err(wrong(format!(
            "found one of run {found}, expected run {run}"
        )));
    }
    let tensor = |name: &str| -> Result<Tensor<1>, TrainError> {
        let view = file.tensor(name).map_err(|e| wrong(e.to_string()))?;
        if view.shape() != [parameters] || view.dtype() != Dtype::F32 {
            let found = view.shape();
            return Err(wrong(format!(
                "{name} has shape {found:?}, expected [{parameters}]"
            )));
        }
        let floats = view.data().chunks_exact(4);
        let floats: Vec<f32> = floats
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let data = TensorData::new(floats, [parameters]);
        Ok(Tensor::from_data(data, (device, DType::F32)))
    };
    let state = State {
        values: tensor("values")?,
        moments: Tensor::cat(vec![tensor("first")?, tensor("second")?], 0),
        best: tensor("best")?,
    };
    Ok((state, progress))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_places_are_kept_and_other_checkpoints_have_none() {
        let device = Device::flex();
        let state = || State {
            values: Tensor::zeros([3], &device),
            moments: Tensor::zeros([6], &device),
            best: Tensor::zeros([3], &device),
        };
        let placed: Placed = vec![(4, vec![0, 7]), (9, vec![1 << 40])];
        let keep = |placed| {
            let progress = Progress::default();
            futures_lite::future::block_on(write(state(), &progress, placed)).unwrap()
        };
        assert_eq!(chosen(&keep(Some(&placed))).as_ref(), Some(&placed));
        assert_eq!(chosen(&keep(None)), None);
        assert_eq!(chosen(b"rubbish"), None);
    }
}
