//! Runs that the page starts on this machine: a queue for each device, one run at a time, each in a separate process, whose
//! record is in the store like any other's.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, bail};
use apet_record::{RunSpec, record_name};
use apet_store::{Store, check_name, write_atomic};
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get, routing::post};
use serde::{Deserialize, Serialize};

use crate::runner::signal::terminate;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum QueueState {
    Waiting,
    Running,
    Ended,
}

/// A run that the page asked for.
#[derive(Clone, Debug, Serialize)]
struct Job {
    /// Run id.
    run: String,
    device: String,
    /// Its record, as `/api/records` names it.
    file: String,
    place: QueueState,
    /// Its record has been begun.
    recorded: bool,
    /// Why it ended without a record of its end; empty where it did not.
    error: String,
    #[serde(skip)]
    spec: String,
    #[serde(skip)]
    process: Option<u32>,
}

/// The queues.
#[derive(Debug)]
pub(crate) struct Runs {
    store: Store,
    jobs: Mutex<Vec<Job>>,
    queues: BTreeMap<String, mpsc::Sender<usize>>,
}

impl Runs {
    /// Queues for `devices`, each with a thread that makes its runs.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(store: &Store, devices: Vec<String>) -> Result<Arc<Self>> {
        let (mut queues, mut ends) = (BTreeMap::new(), Vec::new());
        for device in devices {
            let (queue, end) = mpsc::channel();
            queues.insert(device, queue);
            ends.push(end);
        }
        let runs = Arc::new(Self {
            store: store.clone(),
            jobs: Mutex::default(),
            queues,
        });
        for end in ends {
            let runs = Arc::downgrade(&runs);
            let work = move || {
                while let Ok(job) = end.recv() {
                    if let Some(runs) = runs.upgrade() {
                        runs.run_job(job);
                    }
                }
            };
            thread::Builder::new().name("run".into()).spawn(work)?;
        }
        Ok(runs)
    }

    /// The devices that runs can be made on.
    pub(crate) fn devices(&self) -> Vec<String> {
        self.queues.keys().cloned().collect()
    }

    /// The routes under `/api/runs`.
    pub(crate) fn routes(self: Arc<Self>) -> Router {
        Router::new()
            .route("/api/runs", get(list).post(add))
            .route("/api/runs/stop", post(stop))
            .with_state(self)
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        // A list of jobs is as good after a panic as before it.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a run, unless it was stopped while it waited.
    fn run_job(&self, number: usize) {
        let Some(job) = self.jobs().get(number).cloned() else {
            return;
        };
        if job.place == QueueState::Ended {
            return;
        }
        let error = self.run(number, &job).err();
        let mut jobs = self.jobs();
        if let Some(job) = jobs.get_mut(number) {
            job.place = QueueState::Ended;
            job.process = None;
            job.error = error.map(|error| format!("{error:#}")).unwrap_or_default();
        }
    }

    fn run(&self, number: usize, job: &Job) -> Result<()> {
        let spec = self.store.runs().join(format!(".{}.spec.json", job.file));
        write_atomic(&spec, |out| Ok(out.write_all(job.spec.as_bytes())?))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--json", "--device", &job.device, "--spec"]);
        command.arg(&spec).arg("--resume");
        command.env("APET_HOME", self.store.root());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().context("the run cannot be started")?;
        if let Some(job) = self.jobs().get_mut(number) {
            if job.place == QueueState::Ended {
                terminate(child.id()); // it was stopped while it was being started
            } else {
                job.place = QueueState::Running;
            }
            job.process = Some(child.id());
        }
        let output = child.wait_with_output()?;
        fs::remove_file(&spec).ok();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let error = said
                .lines()
                .rev()
                .find_map(|line| line.strip_prefix("error: "));
            bail!(
                "{}",
                error.unwrap_or("the run's process ended in its middle")
            );
        }
        Ok(())
    }
}

async fn list(State(runs): State<Arc<Runs>>) -> Json<Vec<Job>> {
    let mut jobs = runs.jobs().clone();
    for job in &mut jobs {
        let record = fs::metadata(runs.store.runs().join(&job.file));
        job.recorded = record.is_ok_and(|about| about.len() > 0);
    }
    Json(jobs)
}

/// What the page asks for.
#[derive(Deserialize)]
struct RunRequest {
    spec: serde_json::Value,
    device: String,
}

fn refused(problem: impl std::fmt::Display) -> Response {
    (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response()
}

async fn add(State(runs): State<Arc<Runs>>, Json(wanted): Json<RunRequest>) -> Response {
    let spec = match RunSpec::from_json(&wanted.spec.to_string()) {
        Ok(spec) => spec,
        Err(problem) => return refused(problem),
    };
    // A name in the store, never a path outside of it.
    for (field, name) in [("model", &spec.model), ("task.name", &spec.task.name)] {
        if let Err(problem) = check_name(name) {
            return refused(format!("{field}: {problem}"));
        }
    }
    let Some(queue) = runs.queues.get(&wanted.device) else {
        let devices = runs.devices().join(", ");
        return refused(format!(
            "device: found {:?}, expected one of {devices}",
            wanted.device
        ));
    };
    let Ok(text) = serde_json::to_string(&spec) else {
        return refused("spec: cannot be written as JSON");
    };
    let run = spec.id();
    let mut jobs = runs.jobs();
    let open = |job: &&Job| {
        job.run == run && job.device == wanted.device && job.place != QueueState::Ended
    };
    if let Some(job) = jobs.iter().find(open) {
        return Json(job.clone()).into_response(); // asked for twice, made once
    }
    let job = Job {
        file: format!("{}.jsonl", record_name(&run, &wanted.device)),
        run,
        device: wanted.device,
        place: QueueState::Waiting,
        recorded: false,
        error: String::new(),
        spec: text,
        process: None,
    };
    jobs.push(job.clone());
    if queue.send(jobs.len() - 1).is_err() {
        return refused("the device's queue has ended; start apet serve again");
    }
    Json(job).into_response()
}

#[derive(Deserialize)]
struct JobName {
    run: String,
    device: String,
}

/// Ends a run after the step it is in, with a checkpoint; one that waits is not begun.
async fn stop(State(runs): State<Arc<Runs>>, Json(which): Json<JobName>) -> Response {
    let mut jobs = runs.jobs();
    let is_it = |job: &&mut Job| job.run == which.run && job.device == which.device;
    let Some(job) = jobs.iter_mut().rev().find(is_it) else {
        return refused(format!(
            "run {:?}: was not started from the page",
            which.run
        ));
    };
    match job.process {
        Some(process) => terminate(process),
        None => job.place = QueueState::Ended,
    }
    Json(job.clone()).into_response()
}
