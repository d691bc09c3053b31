//! Other devices that help with a run, each in a thread of its own with a model and a theta of its own: they make their
//! parts of every batch's gradient, which are added on the host (theta's gradient is kilobytes).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};
use apet_record::RunSpec;
use apet_store::Store;
use apet_tasks::Task;
use apet_train::{Help, Helpers, Share};
use futures_lite::future::block_on;

use crate::{device, model};

/// What a helper is asked: values of theta, and rows.
type Asked = (Vec<f32>, Vec<Share>);

/// A device that helps.
struct Member {
    device: String,
    ask: Sender<Asked>,
    answers: Receiver<Result<Help, String>>,
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
            let helped = help(&store, &device, &task, &spec, &asked, &answer);
            if let Err(error) = helped {
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

fn help(
    store: &Store,
    device: &str,
    task: &Task,
    spec: &RunSpec,
    asked: &Receiver<Asked>,
    answer: &Sender<Result<Help, String>>,
) -> Result<()> {
    let opened = device::open(device)?;
    let plm = model::load(store, &spec.model, spec.dtype, &opened)?;
    let mut trainer = block_on(apet_train::trainer(&plm, task, spec))?;
    let ready = Help {
        gradient: Vec::new(),
        loss: 0.0,
    };
    answer.send(Ok(ready)).ok();
    while let Ok((values, shares)) = asked.recv() {
        let found = block_on(trainer.help(values, &shares))?;
        answer.send(Ok(found)).ok();
    }
    Ok(())
}

impl Helpers for Crew {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn ask(&mut self, values: &[f32], shares: Vec<Vec<Share>>) -> Result<(), String> {
        for (member, shares) in self.0.iter().zip(shares) {
            let sent = member.ask.send((values.to_vec(), shares));
            sent.map_err(|_| gone(member))?;
        }
        Ok(())
    }

    async fn answers(&mut self) -> Result<Vec<Help>, String> {
        let answer = |member: &Member| member.answers.recv().map_err(|_| gone(member))?;
        self.0.iter().map(answer).collect()
    }
}

fn gone(member: &Member) -> String {
    format!("helping device {:?} is gone", member.device)
}
