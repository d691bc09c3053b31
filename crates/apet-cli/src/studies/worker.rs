//! `apet run --study`: one run of a study, or all that are left.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use apet_record::{RunSpec, Status, record_name};
use apet_store::{Lease, Store, builtin, write_atomic};
use indicatif::{ProgressBar, ProgressStyle};

use super::cost::task_folder;
use super::study_dir::{Failure, StudyDir, host, plain};
use crate::runner::execute::{RunOptions, execute};
use crate::runner::signal;

/// Numbers that schedulers give the tasks of an array: Slurm, HyperQueue, a Kubernetes indexed job.
const INDEX: [&str; 3] = ["SLURM_ARRAY_TASK_ID", "HQ_TASK_ID", "JOB_COMPLETION_INDEX"];

/// Between looks at what another worker has in hand.
const WAIT: Duration = Duration::from_millis(500);

/// Which runs of a study.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkArgs {
    /// Run a planned study: the run that --index or a scheduler names, otherwise all that are left
    #[arg(long, alias = "plan", value_name = "DIR", conflicts_with_all = ["spec", "model", "task", "data"])]
    pub(crate) study: Option<PathBuf>,
    /// Index of the run in the study [default: SLURM_ARRAY_TASK_ID, HQ_TASK_ID or JOB_COMPLETION_INDEX, if set]
    #[arg(long, value_name = "N", requires = "study")]
    index: Option<usize>,
    /// Add N to the scheduler's index
    #[arg(
        long,
        alias = "first",
        value_name = "N",
        requires = "study",
        default_value_t = 0
    )]
    index_offset: usize,
    /// Run K runs at once, each in its own process
    #[arg(
        long,
        value_name = "K",
        requires = "study",
        conflicts_with = "index",
        default_value_t = 1
    )]
    jobs: usize,
    /// Seconds without a sign of life after which a worker counts as dead
    #[arg(long, value_name = "S", requires = "study", default_value_t = 120.0)]
    lease: f64,
}

/// What became of a run.
enum RunOutcome {
    /// It is done now.
    Finished,
    /// It was done before.
    AlreadyDone,
    /// Another worker has it.
    TakenBy(String),
}

/// A worker of a study.
struct Worker<'a> {
    store: &'a Store,
    folder: &'a StudyDir,
    device: &'a str,
    lease: Duration,
    /// A name that no other has.
    name: String,
    signal: Arc<AtomicBool>,
}

/// Runs the requested run, or all that are left.
///
/// # Errors
/// What went wrong; it is kept in the study for `apet status`.
pub(crate) fn run_study(store: &Store, root: &Path, args: &WorkArgs, device: &str) -> Result<()> {
    let folder = StudyDir::open(root)?;
    ensure!(
        args.lease.is_finite() && args.lease > 0.0,
        "--lease: found {}, expected seconds, more than 0",
        args.lease
    );
    builtin::install_builtin(store, |name| folder.plan.grid().uses(name))?;
    if args.jobs > 1 {
        let work = LocalWorkers {
            jobs: args.jobs,
            lease: args.lease,
        };
        let devices: Vec<&str> = device.split(',').collect();
        return spawn_local_workers(root, &work, &devices);
    }
    let worker = Worker {
        store,
        folder: &folder,
        device,
        lease: Duration::from_secs_f64(args.lease),
        name: format!("{}-{}-{:x}", plain(&host()), std::process::id(), nonce()),
        signal: signal::stop()?,
    };
    match index(args)? {
        Some(run) => worker.one(run),
        None => worker.all(),
    }
}

/// The index of the requested run, if there is one.
fn index(args: &WorkArgs) -> Result<Option<usize>> {
    if args.index.is_some() {
        return Ok(args.index);
    }
    for variable in INDEX {
        if let Ok(value) = std::env::var(variable) {
            let own: Option<usize> = value.parse().ok();
            let own = own.with_context(|| {
                format!("{variable}: found {value:?}, expected a number from 0")
            })?;
            return Ok(Some(args.index_offset + own));
        }
    }
    Ok(None)
}

impl Worker<'_> {
    /// Makes a run; waits for the worker that has it, as a scheduler may start a task again before its first try is
    /// known to be dead.
    fn one(&self, run: usize) -> Result<()> {
        let all = self.folder.manifest.runs;
        ensure!(
            run < all,
            "--index: found {run}, the study has runs 0 to {}",
            all.saturating_sub(1)
        );
        let Some(spec) = self.folder.spec(run) else {
            let missing = self.folder.waits_for(run);
            bail!("run {run} takes its learning rate from runs {missing:?}, which are not done");
        };
        let mut told = false;
        loop {
            match self.run_once(run, &spec)? {
                RunOutcome::Finished => println!("run {run} is done: {}", spec.id()),
                RunOutcome::AlreadyDone => println!("run {run} was done before: {}", spec.id()),
                RunOutcome::TakenBy(holder) => {
                    if !std::mem::replace(&mut told, true) {
                        eprintln!("run {run} is being made by {holder}; waiting");
                    }
                    self.stopped()?;
                    thread::sleep(WAIT);
                    continue;
                }
            }
            return Ok(());
        }
    }

    /// Makes all runs that nobody makes, those first that others wait for.
    fn all(&self) -> Result<()> {
        let (mut made, mut failed) = (0, 0);
        let mut left: Vec<usize> = (0..self.folder.manifest.runs).collect();
        let bar = ProgressBar::new(left.len() as u64);
        bar.set_style(ProgressStyle::with_template(
            "{wide_bar} {pos}/{len} runs, {eta} left",
        )?);
        while !left.is_empty() {
            let before = left.len();
            let mut later = Vec::new();
            for run in left {
                self.stopped()?;
                let Some(spec) = self.folder.spec(run) else {
                    later.push(run);
                    continue;
                };
                if self.folder.failure(&spec.id()).exists() {
                    failed += 1;
                    continue;
                }
                bar.inc(1);
                match self.run_once(run, &spec) {
                    Ok(RunOutcome::Finished) => made += 1,
                    Ok(RunOutcome::AlreadyDone) => {}
                    Ok(RunOutcome::TakenBy(_)) => later.push(run),
                    Err(error) => {
                        self.stopped()?;
                        bar.suspend(|| eprintln!("run {run}: {error:#}"));
                        failed += 1;
                    }
                }
            }
            bar.set_position((self.folder.manifest.runs - later.len()) as u64);
            // Others are at work on what is left, or what it waits for has failed.
            if later.len() == before {
                if later.iter().all(|&run| self.is_stuck(run)) {
                    let count = later.len();
                    bail!(
                        "{count} runs take their learning rates from runs that failed; apet status says why, apet retry reruns them"
                    );
                }
                thread::sleep(WAIT);
            }
            left = later;
        }
        bar.finish_and_clear();
        println!("{made} runs made, {failed} failed, the others were there");
        ensure!(failed == 0, "{failed} runs failed; apet status says why");
        Ok(())
    }

    /// Whether a run waits for one that failed.
    fn is_stuck(&self, run: usize) -> bool {
        self.folder.waits_for(run).into_iter().any(|run| {
            let spec = self.folder.spec(run);
            spec.is_some_and(|spec| self.folder.failure(&spec.id()).exists())
        })
    }

    fn stopped(&self) -> Result<()> {
        let stopped = self.signal.load(Ordering::Relaxed);
        ensure!(!stopped, "stopped; run the same command to resume");
        Ok(())
    }

    fn run_once(&self, run: usize, spec: &RunSpec) -> Result<RunOutcome> {
        let id = spec.id();
        let record = self.folder.record(&id);
        if record.exists() {
            return Ok(RunOutcome::AlreadyDone);
        }
        let work = self.folder.work(&id);
        fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        let stop = Arc::default();
        let place = work.join("lease");
        let lease = Lease::take(&place, &self.name, self.lease, &self.signal, &stop);
        let lease = match lease {
            Ok(Ok(lease)) => lease,
            Ok(Err(holder)) => return Ok(RunOutcome::TakenBy(holder)),
            // Who had it has just removed the folder: it is done.
            Err(_) if record.exists() => return Ok(RunOutcome::AlreadyDone),
            Err(error) => return Err(error),
        };
        // It may have been done before the lease was free.
        if record.exists() {
            self.clear(&work);
            return Ok(RunOutcome::AlreadyDone);
        }
        let own = work.join(&self.name);
        let name = record_name(&id, self.device);
        if let Err(error) = take_over_checkpoint(&work, &own, &name) {
            if lease.is_held() {
                return Err(error);
            }
            // Suspended in the middle of it: the new holder has finished the run and removed the folder.
            fs::remove_dir_all(&own).ok();
            return Ok(RunOutcome::TakenBy("another".into()));
        }
        let data = task_folder(
            self.store,
            self.folder.manifest.data.as_deref(),
            &spec.task.name,
        );
        let options = RunOptions {
            device: self.device,
            data: &data,
            mask: None,
            again: false,
            resume: true,
            stop: &stop,
            bar: ProgressBar::hidden(),
            runs: &own,
        };
        let made = execute(self.store, spec, options);
        if !lease.is_held() {
            // Suspended for so long that another has it now: what it makes counts.
            fs::remove_dir_all(&own).ok();
            return Ok(RunOutcome::TakenBy("another".into()));
        }
        match made {
            Ok(made) if made.record.status() == Status::Stopped => {
                self.stopped()?;
                bail!("run {run} was stopped");
            }
            Ok(_) => self.publish(&own, &name, &id)?,
            Err(error) => {
                self.fail(run, &id, &error)?;
                self.clear(&work);
                return Err(error);
            }
        }
        self.clear(&work);
        Ok(RunOutcome::Finished)
    }

    /// Puts a run's files where they belong. Of two workers the first one's record stays.
    fn publish(&self, own: &Path, name: &str, id: &str) -> Result<()> {
        let (record, theta) = (self.folder.record(id), self.folder.theta(id));
        for place in [&record, &theta] {
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
        }
        let made = own.join(format!("{name}.theta.safetensors"));
        fs::rename(&made, &theta).with_context(|| theta.display().to_string())?;
        match fs::hard_link(own.join(format!("{name}.jsonl")), &record) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                Err(e).with_context(|| record.display().to_string())
            }
            _ => Ok(()),
        }?;
        fs::remove_file(self.folder.failure(id)).ok();
        Ok(())
    }

    /// Keeps why a run cannot be made.
    fn fail(&self, run: usize, id: &str, error: &anyhow::Error) -> Result<()> {
        let failure = Failure {
            run,
            error: format!("{error:#}"),
            host: host(),
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        };
        let text = serde_json::to_string(&failure)?;
        write_atomic(&self.folder.failure(id), |out| {
            Ok(out.write_all(text.as_bytes())?)
        })
    }

    /// Removes what was only needed on the way.
    fn clear(&self, work: &Path) {
        fs::remove_dir_all(work).ok();
    }
}

/// Takes over what an earlier worker had of a run: its record, and its newest checkpoint. The checkpoint is the last to
/// be there, and whole: a worker that is killed in between leaves nothing that another would resume from.
fn take_over_checkpoint(work: &Path, own: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(own).with_context(|| own.display().to_string())?;
    let others = fs::read_dir(work).with_context(|| work.display().to_string())?;
    let record = |folder: &Path| folder.join(format!("{name}.jsonl"));
    let checkpoint = |folder: &Path| folder.join(format!("{name}.checkpoint.safetensors"));
    let newest = others
        .flatten()
        .filter_map(|entry| {
            let folder = entry.path();
            let about = fs::metadata(checkpoint(&folder)).ok()?;
            Some((about.modified().ok()?, folder))
        })
        .filter(|(_, folder)| folder != own && record(folder).exists())
        .max();
    let Some((_, newest)) = newest else {
        return Ok(());
    };
    let (from, to) = (record(&newest), record(own));
    fs::copy(&from, &to).with_context(|| from.display().to_string())?;
    let (from, to) = (checkpoint(&newest), checkpoint(own));
    let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
    write_atomic(&to, |out| Ok(out.write_all(&bytes)?))
}

/// Workers on this machine.
pub(crate) struct LocalWorkers {
    pub(crate) jobs: usize,
    /// Seconds.
    pub(crate) lease: f64,
}

/// Starts workers in separate processes, taking turns on the devices.
pub(crate) fn spawn_local_workers(
    root: &Path,
    args: &LocalWorkers,
    devices: &[&str],
) -> Result<()> {
    let program = std::env::current_exe()?;
    let threads = thread::available_parallelism()
        .map_or(1, |n| n.get() / args.jobs)
        .max(1);
    let mut children: Vec<Child> = Vec::new();
    for job in 0..args.jobs {
        let mut command = Command::new(&program);
        command.arg("run").arg("--study").arg(root);
        command.args(["--device", devices[job % devices.len()]]);
        command.args(["--lease", &args.lease.to_string()]);
        command.env("RAYON_NUM_THREADS", threads.to_string());
        for variable in INDEX {
            command.env_remove(variable);
        }
        children.push(
            command
                .spawn()
                .with_context(|| program.display().to_string())?,
        );
    }
    let signal = signal::stop()?;
    let (mut told, mut failed) = (false, 0);
    while !children.is_empty() {
        if signal.load(Ordering::Relaxed) && !told {
            told = true;
            children
                .iter()
                .for_each(|child| signal::terminate(child.id()));
        }
        let mut left = Vec::new();
        for mut child in children {
            match child.try_wait()? {
                None => left.push(child),
                Some(status) => failed += usize::from(!status.success()),
            }
        }
        children = left;
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(!told, "stopped; run the same command to resume");
    ensure!(
        failed == 0,
        "{failed} of {} workers did not end well; apet status says more",
        args.jobs
    );
    Ok(())
}

/// Tells two workers with the same process number apart.
fn nonce() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "run-cpu";

    fn left(work: &Path, worker: &str, checkpoint: &str) -> PathBuf {
        let folder = work.join(worker);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{NAME}.jsonl")), worker).unwrap();
        fs::write(
            folder.join(format!("{NAME}.checkpoint.safetensors")),
            checkpoint,
        )
        .unwrap();
        folder
    }

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name());
        let mut names: Vec<String> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_worker_goes_on_from_the_newest_checkpoint() {
        let work = tempfile::tempdir().unwrap();
        left(work.path(), "first", "older");
        thread::sleep(Duration::from_millis(20));
        left(work.path(), "second", "newer");
        let own = work.path().join("own");
        take_over_checkpoint(work.path(), &own, NAME).unwrap();
        let read = |ending: &str| fs::read_to_string(own.join(format!("{NAME}.{ending}"))).unwrap();
        assert_eq!(read("checkpoint.safetensors"), "newer");
        assert_eq!(read("jsonl"), "second");
        assert_eq!(files(&own).len(), 2);
    }

    #[test]
    fn a_checkpoint_without_its_record_is_nothing_to_go_on_from() {
        let work = tempfile::tempdir().unwrap();
        left(work.path(), "first", "older");
        thread::sleep(Duration::from_millis(20));
        let second = left(work.path(), "second", "newer");
        fs::remove_file(second.join(format!("{NAME}.jsonl"))).unwrap();
        let own = work.path().join("own");
        take_over_checkpoint(work.path(), &own, NAME).unwrap();
        let checkpoint = own.join(format!("{NAME}.checkpoint.safetensors"));
        assert_eq!(fs::read_to_string(checkpoint).unwrap(), "older");
    }
}
