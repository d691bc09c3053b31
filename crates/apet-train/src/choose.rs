//! Chooses theta's places where they depend on the model's values, on gradients or on a mask.

use apet_plm::Plm;
use apet_record::{Method, Objective, RunSpec, Select};
use apet_tasks::Task;
use apet_theta::{Choice, Layout, Placed, Theta, Used};

use crate::{TrainError, Trainer, trainer::read};

/// The places of a spec that selects by values, gradients or a mask, of which `mask` are the
/// bytes; none where all is drawn.
///
/// Gradients are those of the run's first training batches, of the untuned model with the
/// run's initial head, in one dense vector over the pool.
///
/// # Errors
/// When the spec does not fit the model, the mask is missing or wrong, or the device fails.
pub async fn choose(
    plm: &Plm,
    task: &Task,
    spec: &RunSpec,
    mask: Option<&[u8]>,
) -> Result<Option<Placed>, TrainError> {
    let architecture = plm.architecture();
    let Some(choice) = Choice::of(spec, architecture)? else {
        return Ok(None);
    };
    let placed = match choice.select {
        Select::Gradient { batches } => {
            by_gradient(plm, task, spec, &choice, *batches, false).await?
        }
        Select::Snip { batches } => by_gradient(plm, task, spec, &choice, *batches, true).await?,
        Select::Mask { mask: name, hash } => {
            let bytes = mask.ok_or_else(|| {
                wrong_mask(format!(
                    "found no mask \"{name}\" in the store, expected masks/{hash}.safetensors"
                ))
            })?;
            let found = blake3::hash(bytes).to_hex();
            if !found.starts_with(hash.as_str()) {
                return Err(wrong_mask(format!(
                    "{name} has the hash {}, method.select.hash is {hash}",
                    &found[..hash.len().min(found.len())]
                )));
            }
            choice.by_mask(bytes, architecture, spec.seeds.placement)?
        }
        _ => choice.by_magnitude(plm).await.map_err(TrainError::Device)?,
    };
    Ok(Some(placed))
}

fn wrong_mask(problem: String) -> TrainError {
    TrainError::Spec(apet_record::SpecError {
        field: "method.select.mask".into(),
        problem,
    })
}

/// The scalars with the largest sum of gradients over `batches`, times their values in SNIP.
async fn by_gradient(
    plm: &Plm,
    task: &Task,
    spec: &RunSpec,
    choice: &Choice<'_>,
    batches: usize,
    times_value: bool,
) -> Result<Placed, TrainError> {
    let architecture = plm.architecture();
    let sites = choice.pool.sites();
    let names: std::collections::HashSet<&str> = sites
        .iter()
        .map(|&(id, _)| architecture.sites[id].name.as_str())
        .collect();
    let mut full = spec.clone();
    full.method = Method::full();
    let classes = match spec.objective {
        Objective::ClassHead => Some(task.labels.len()),
        Objective::LabelWords => None,
    };
    let used: Used<'_> = (&|site| names.contains(site.name.as_str()), &|_| false);
    let layout = Layout::over(architecture, &full, classes, None, plm.device(), used)?;
    let theta = Theta::of(plm, spec.seeds.init, layout);
    let trainer = Trainer::of(plm, task, spec, theta)?;
    let rows = trainer.first_batches(batches);
    let (gradient, _) = trainer.gradient(&rows)?;
    let score = match times_value {
        true => gradient * trainer.theta.values(),
        false => gradient,
    };
    let score = read(score.abs()).await?;
    let weights = trainer.theta.weights().iter();
    let scores = weights.filter_map(|weight| {
        let values = score[weight.offset..weight.offset + weight.len()].to_vec();
        weight.site().map(|site| (site, values))
    });
    Ok(choice.by_scores(scores))
}
