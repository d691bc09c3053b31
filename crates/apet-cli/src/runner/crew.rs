//! Other devices that help with a run, each in a thread of its own with a model and a theta of its own: they make their
//! parts of every batch's gradient, which are added on the host (theta's gradient is kilobytes).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};
use apet_record::RunSpec;
use apet_store::Store;
use apet_tasks::Task;
use apet_train::{GradientWorkers, Shard, ShardGradient};
use futures_lite::future::block_on;

use super::{device, model};

/// What a helper is asked: values of theta, and rows.
type Asked = (Vec<f32>, Vec<Shard>);

/// A device that helps.
struct Member {
    device: String,
    ask: Sender<Asked>,
    answers: Receiver<Result<ShardGradient, String>>,
}

/// The devices that help; none where a run has one device.
#[derive(Default)]
pub(crate) struct Crew(Vec<Member>);

impl Crew {
    /// Opens the devices and loads the model on each.
    ///
    /// # Errors
    /// Names the device that can not be used.
    pub(crate) fn of(store: &Store, devices: &[&str], task: &Task, spec: &RunSpec) -> Result<Self> {
        let members: Vec<Member> = devices
            .iter()
            .map(|name| member(store, name, task, spec))
            .collect();
        for member in &members {
            let ready = member.answers.recv();
            let ready = ready.map_err(|_| anyhow::anyhow!("it ended early"))?;
            let ready = ready.map_err(anyhow::Error::msg);
            ready.with_context(|| format!("helping device {:?}", member.device))?;
        }
        Ok(Self(members))
    }
}

/// Begins a thread that says once that it is ready, and then answers what it is asked, until nobody asks any more.
fn member(store: &Store, name: &str, task: &Task, spec: &RunSpec) -> Member {
    let (ask, asked) = channel::<Asked>();
    let (answer, answers) = channel();
    let (store, task, spec) = (store.clone(), task.clone(), spec.clone());
    let device = name.to_owned();
    thread::spawn({
        let device = device.clone();
        move || {
            let served = compute_shards(&store, &device, &task, &spec, &asked, &answer);
            if let Err(error) = served {
                answer.send(Err(format!("{error:#}"))).ok();
            }
        }
    });
    Member {
        device,
        ask,
        answers,
    }
}

fn compute_shards(
    store: &Store,
    device: &str,
    task: &Task,
    spec: &RunSpec,
    asked: &Receiver<Asked>,
    answer: &Sender<Result<ShardGradient, String>>,
) -> Result<()> {
    let opened = device::open(device)?;
    let plm = model::load(store, &spec.model, spec.dtype, &opened)?;
    let mut trainer = block_on(apet_train::trainer(&plm, task, spec))?;
    let ready = ShardGradient {
        gradient: Vec::new(),
        loss: 0.0,
    };
    answer.send(Ok(ready)).ok();
    while let Ok((values, shards)) = asked.recv() {
        let found = block_on(trainer.shard_gradient(values, &shards))?;
        answer.send(Ok(found)).ok();
    }
    Ok(())
}

impl GradientWorkers for Crew {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn send(&mut self, values: &[f32], shards: Vec<Vec<Shard>>) -> Result<(), String> {
        for (member, shards) in self.0.iter().zip(shards) {
            let sent = member.ask.send((values.to_vec(), shards));
            sent.map_err(|_| gone(member))?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<ShardGradient>, String> {
        let answer = |member: &Member| member.answers.recv().map_err(|_| gone(member))?;
        self.0.iter().map(answer).collect()
    }
}

fn gone(member: &Member) -> String {
    format!("helping device {:?} is gone", member.device)
}
