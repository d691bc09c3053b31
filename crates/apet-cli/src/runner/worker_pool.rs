//! The other devices of a run, each in its own thread with its own copy of the model and of theta. They compute shards of
//! every batch's gradient, which are added on the host (theta's gradient is kilobytes).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};
use apet_record::RunSpec;
use apet_store::Store;
use apet_tasks::Task;
use apet_train::{GradientWorkers, Shard, ShardGradient};
use futures_lite::future::block_on;

use super::{device, model};

/// Theta's values, and the rows to compute a gradient of.
type Request = (Vec<f32>, Vec<Shard>);

/// A device's thread.
struct WorkerHandle {
    device: String,
    requests: Sender<Request>,
    results: Receiver<Result<ShardGradient, String>>,
}

/// The other devices of a run; empty for a run on one device.
#[derive(Default)]
pub(crate) struct WorkerPool(Vec<WorkerHandle>);

/// Opens the devices, loads the model on each, and waits until all are ready.
///
/// # Errors
/// Names the device that cannot be used.
pub(crate) fn spawn_workers(
    store: &Store,
    devices: &[&str],
    task: &Task,
    spec: &RunSpec,
) -> Result<WorkerPool> {
    let workers: Vec<WorkerHandle> = devices
        .iter()
        .map(|name| spawn_worker(store, name, task, spec))
        .collect();
    for worker in &workers {
        let ready = worker.results.recv();
        let ready = ready.map_err(|_| anyhow::anyhow!("it ended early"))?;
        let ready = ready.map_err(anyhow::Error::msg);
        ready.with_context(|| format!("helping device {:?}", worker.device))?;
    }
    Ok(WorkerPool(workers))
}

/// Starts a thread that sends one empty result when it is ready, and then answers requests until their sender is dropped.
fn spawn_worker(store: &Store, name: &str, task: &Task, spec: &RunSpec) -> WorkerHandle {
    let (requests, received) = channel::<Request>();
    let (sender, results) = channel();
    let (store, task, spec) = (store.clone(), task.clone(), spec.clone());
    let device = name.to_owned();
    thread::spawn({
        let device = device.clone();
        move || {
            let served = compute_shards(&store, &device, &task, &spec, &received, &sender);
            if let Err(error) = served {
                sender.send(Err(format!("{error:#}"))).ok();
            }
        }
    });
    WorkerHandle {
        device,
        requests,
        results,
    }
}

fn compute_shards(
    store: &Store,
    device: &str,
    task: &Task,
    spec: &RunSpec,
    requests: &Receiver<Request>,
    result: &Sender<Result<ShardGradient, String>>,
) -> Result<()> {
    let opened = device::open(device)?;
    let plm = model::load(store, &spec.model, spec.dtype, &opened)?;
    let mut trainer = block_on(apet_train::trainer(&plm, task, spec))?;
    let ready = ShardGradient {
        gradient: Vec::new(),
        loss: 0.0,
    };
    result.send(Ok(ready)).ok();
    while let Ok((values, shards)) = requests.recv() {
        let found = block_on(trainer.shard_gradient(values, &shards))?;
        result.send(Ok(found)).ok();
    }
    Ok(())
}

impl GradientWorkers for WorkerPool {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn send(&mut self, values: &[f32], shards: Vec<Vec<Shard>>) -> Result<(), String> {
        for (worker, shards) in self.0.iter().zip(shards) {
            let sent = worker.requests.send((values.to_vec(), shards));
            sent.map_err(|_| gone(worker))?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<ShardGradient>, String> {
        let result = |worker: &WorkerHandle| worker.results.recv().map_err(|_| gone(worker))?;
        self.0.iter().map(result).collect()
    }
}

fn gone(worker: &WorkerHandle) -> String {
    format!("helping device {:?} is gone", worker.device)
}
