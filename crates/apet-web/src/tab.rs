//! Where a run in the tab runs: private files, the Worker's event loop, the page's buttons.

use std::cell::Cell;

use apet_record::{Line, RunRecord, RunSpec, TaskInfo, record_name};
use apet_train::{Control, GradientWorkers, Host, Shard, ShardGradient, StepTimings};
use burn::tensor::Device;
use js_sys::{Function, Promise};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::{
    crew::Crew,
    device::{Lost, Opened},
    files::{OpenFile, folder, remove},
    object,
};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(then: &Function, milliseconds: i32) -> i32;
}

/// Milliseconds, finer than the clock of dates.
pub(crate) fn milliseconds() -> f64 {
    now()
}

/// What the page's buttons ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Go,
    Pause,
    Stop,
}

/// What the page is told: a line of the record, or what is being done.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    Line(String),
    Progress(String),
    Spent(StepTimings),
}

/// The host of a run in the tab.
pub(crate) struct Tab<'a> {
    run: String,
    /// Of its files, see [`record_name`].
    name: String,
    record: OpenFile,
    record_size: f64,
    /// Two places, written in turn: a Worker ended in a write leaves the other whole.
    checkpoints: [OpenFile; 2],
    next: usize,
    on_event: &'a Function,
    asked: &'a Cell<Asked>,
    lost: Lost,
    paused: f64,
    crew: Crew,
    /// The device whose memory the run holds, where that is not the module's.
    gpu: Option<Device>,
}

impl<'a> Tab<'a> {
    pub(crate) async fn open(
        spec: &RunSpec,
        opened: &Opened,
        on_event: &'a Function,
        asked: &'a Cell<Asked>,
        crew: Crew,
    ) -> Result<Self, JsValue> {
        let run = spec.id();
        let name = record_name(&run, &opened.info.name);
        let kept = folder("checkpoints").await?;
        Ok(Self {
            record: OpenFile::open(&folder("runs").await?, &format!("{name}.jsonl")).await?,
            record_size: 0.0,
            checkpoints: [
                OpenFile::open(&kept, &checkpoint_file(&name, 0)).await?,
                OpenFile::open(&kept, &checkpoint_file(&name, 1)).await?,
            ],
            next: 0,
            run,
            name,
            on_event,
            asked,
            lost: opened.lost.clone(),
            paused: 0.0,
            crew,
            gpu: (opened.info.name != "cpu").then(|| opened.device.clone()),
        })
    }

    /// The last checkpoint, the record then cut after its last whole line; or none,
    /// the record then emptied. A record of other rows than `task` has is left as it is.
    pub(crate) fn resume(&mut self, task: &TaskInfo) -> Result<Option<Vec<u8>>, String> {
        // The spec names a task, not its rows: the same name may mean other data now.
        if let Some(hash) = data_hash(&self.record.read()?)
            && hash != task.data_hash
        {
            return Err(format!(
                "there is a run like this one of other rows that were called {:?}, too; delete it in Results, or give the file another name",
                task.name
            ));
        }
        let kept = [self.checkpoints[0].read()?, self.checkpoints[1].read()?];
        let newest = apet_train::newest_checkpoint(kept.into(), &self.run);
        self.record_size = match newest {
            None => 0.0,
            Some(_) => {
                let text = self.record.read()?;
                let end = text.iter().rposition(|&b| b == b'\n');
                end.map_or(0.0, |at| at as f64 + 1.0)
            }
        };
        self.record.truncate(self.record_size)?;
        Ok(newest)
    }

    /// Keeps theta, and removes the checkpoints of a run that needs none any more.
    pub(crate) async fn end(self, theta: &[u8], resumable: bool) -> Result<(), JsValue> {
        let name = format!("{}.safetensors", self.name);
        let file = OpenFile::open(&folder("thetas").await?, &name).await?;
        let kept = file
            .truncate(0.0)
            .and_then(|()| file.write(theta, 0.0))
            .and_then(|()| file.flush());
        kept.map_err(crate::error)?;
        let name = self.name.clone();
        drop(self);
        if !resumable {
            let kept = folder("checkpoints").await?;
            for place in [0, 1] {
                remove(&kept, &checkpoint_file(&name, place)).await;
            }
        }
        Ok(())
    }

    fn tell(&self, event: &Event) {
        // A page that cannot listen is no reason to lose the run.
        if let Ok(event) = object(event) {
            let _ = self.on_event.call1(&JsValue::NULL, &event);
        }
    }
}

/// The hash of the rows that a record's run was made with.
fn data_hash(record: &[u8]) -> Option<String> {
    let end = record.iter().position(|&b| b == b'\n')?;
    let header = std::str::from_utf8(&record[..=end]).ok()?;
    let record = RunRecord::parse(header).ok()?.pop()?;
    Some(record.header.task.data_hash).filter(|hash| !hash.is_empty())
}

fn checkpoint_file(name: &str, place: usize) -> String {
    format!("{name}.{place}.safetensors")
}

/// Lets the Worker's event loop go on, so that the page's messages come in.
async fn wait(milliseconds: i32) {
    let promise = Promise::new(&mut |done, _| {
        set_timeout(&done, milliseconds);
    });
    let _ = JsFuture::from(promise).await;
}

impl GradientWorkers for Tab<'_> {
    fn count(&self) -> usize {
        self.crew.count()
    }

    fn send(&mut self, values: &[f32], shards: Vec<Vec<Shard>>) -> Result<(), String> {
        self.crew.send(values, shards)
    }

    async fn receive(&mut self) -> Result<Vec<ShardGradient>, String> {
        self.crew.receive().await
    }
}

impl Host for Tab<'_> {
    fn now(&self) -> f64 {
        js_sys::Date::now() - self.paused
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        let text = line.to_json();
        let bytes = format!("{text}\n").into_bytes();
        self.record.write(&bytes, self.record_size)?;
        self.record_size += bytes.len() as f64;
        if !matches!(line, Line::Step(_)) {
            self.record.flush()?;
        }
        self.tell(&Event::Line(text));
        Ok(())
    }

    fn checkpoint(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.record.flush()?;
        let file = &self.checkpoints[self.next];
        self.next = 1 - self.next;
        file.truncate(0.0)?;
        file.write(bytes, 0.0)?;
        file.flush()
    }

    /// A module's memory never shrinks: its size is the most it was, since the Worker began; nor does what
    /// a GPU's allocator has reserved. GradientWorkers have their own.
    fn peak_bytes(&self) -> Option<u64> {
        if let Some(device) = &self.gpu {
            return device.memory_pool_usage().map(|used| used.bytes_reserved);
        }
        let memory: js_sys::WebAssembly::Memory = wasm_bindgen::memory().dyn_into().ok()?;
        let buffer: js_sys::ArrayBuffer = memory.buffer().dyn_into().ok()?;
        Some(u64::from(buffer.byte_length()))
    }

    fn clock(&self) -> fn() -> f64 {
        milliseconds
    }

    fn timings(&mut self, timings: StepTimings) {
        self.tell(&Event::Spent(timings));
    }

    fn progress(&mut self, what: &str) {
        self.tell(&Event::Progress(what.to_owned()));
    }

    async fn turn(&mut self) -> Result<Control, String> {
        wait(0).await;
        let begun = js_sys::Date::now();
        while self.asked.get() == Asked::Pause {
            wait(50).await;
        }
        self.paused += js_sys::Date::now() - begun;
        if let Ok(lost) = self.lost.lock()
            && let Some(why) = lost.as_ref()
        {
            return Err(why.clone());
        }
        Ok(match self.asked.get() {
            Asked::Stop => Control::Stop,
            _ => Control::Go,
        })
    }
}
