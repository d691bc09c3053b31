//! What a study's runs take: memory, operations, and how many operations a second this machine does.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use apet_plm::ModelArchitecture;
use apet_record::{Objective, RunSpec};
use apet_store::Store;
use apet_study::Plan;
use apet_tasks::{Task, find_splits};
use burn::Tensor;
use burn::tensor::{DType, Device, Distribution};
use futures_lite::future::block_on;

use super::study_dir::RunCost;
use crate::runner::architecture;

/// Where a task's splits are.
pub(crate) fn task_folder(store: &Store, data: Option<&Path>, task: &str) -> PathBuf {
    let given = data
        .map(|data| data.join(task))
        .filter(|folder| folder.is_dir());
    given.unwrap_or_else(|| store.task(task))
}

/// What a run of each cell takes.
///
/// # Errors
/// Names the task, the model or the cell that cannot be planned.
pub(crate) fn costs(store: &Store, plan: &Plan, data: Option<&Path>) -> Result<Vec<RunCost>> {
    let grid = plan.grid();
    let mut tasks = Vec::new();
    for (at, spec) in grid.tasks.iter().enumerate() {
        let folder = task_folder(store, data, &spec.name);
        ensure!(
            folder.is_dir(),
            "task[{at}]: found no task {:?} in the store{}; apet fetch --task {0} --from DIR, or --data DIR with a folder of its name",
            spec.name,
            data.map_or(String::new(), |data| format!(" or in {}", data.display())),
        );
        let read = || Ok(apet_tasks::load(spec, 0, find_splits(&folder)?.read()?)?);
        let task: Result<Task> = read();
        tasks.push(task.with_context(|| format!("task[{at}] {}", spec.name))?);
    }
    let architecture = |name: &String| architecture::architecture(store, name);
    let architectures: Result<Vec<ModelArchitecture>> =
        grid.models.iter().map(architecture).collect();
    let architectures = architectures?;
    let cells = plan.cells().iter().enumerate().map(|(at, cell)| {
        let place = grid.models.iter().position(|name| *name == cell.model);
        let (architecture, task) = (&architectures[place.unwrap_or(0)], &tasks[cell.task]);
        cost(architecture, task, &plan.of_cell(at))
            .with_context(|| format!("{} on {}, {}", cell.model, task.name, cell.method.label()))
    });
    cells.collect()
}

fn cost(architecture: &ModelArchitecture, task: &Task, spec: &RunSpec) -> Result<RunCost> {
    let of_texts = task.metric.of_texts();
    if of_texts && spec.objective == Objective::ClassHead {
        bail!("objective: found \"class_head\", the answers are texts, expected \"label_words\"");
    }
    let planned = apet_train::Plan::new(architecture, spec, task.labels.len())?;
    let scored = (task.dev.len(), task.test.len());
    Ok(RunCost {
        tuned: planned.theta.trainable_parameters,
        bytes: planned.peak(),
        operations: planned.operations(spec, task.labels.len(), scored),
    })
}

/// Operations a second: what is said, or what this machine's cpu does in a large product.
pub(crate) fn speed(tflops: Option<f64>) -> Result<f64> {
    if let Some(tflops) = tflops {
        ensure!(
            tflops > 0.0,
            "--tflops: found {tflops}, expected more than 0"
        );
        return Ok(tflops * 1e12);
    }
    const SIZE: usize = 512;
    let matrix = || {
        let spread = Distribution::Uniform(-1.0, 1.0);
        Tensor::<2>::random([SIZE, SIZE], spread, (&Device::flex(), DType::F32))
    };
    let (a, b) = (matrix(), matrix());
    let (begun, mut products) = (Instant::now(), 0);
    while begun.elapsed().as_secs_f64() < 0.3 {
        block_on(a.clone().matmul(b.clone()).into_data_async())?;
        products += 1;
    }
    let operations = 2.0 * (SIZE as f64).powi(3) * f64::from(products);
    Ok(operations / begun.elapsed().as_secs_f64())
}
