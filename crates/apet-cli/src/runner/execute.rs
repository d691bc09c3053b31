//! One run, from its spec to its record.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use apet_record::{Apet, Method, RunRecord, RunSpec, Select, SoftwareInfo, Status, record_name};
use apet_store::{Store, builtin, check_name, write_atomic};
use apet_tasks::find_splits;
use apet_train::RunInput;
use indicatif::ProgressBar;

use super::architecture::shortage;
use super::terminal::Terminal;
use super::worker_pool::spawn_workers;
use super::{device, memory, model};

/// A finished run.
pub(crate) struct RunResult {
    pub(crate) record: RunRecord,
    /// Whether the store had it before.
    pub(crate) existed: bool,
}

/// How to run a spec.
pub(crate) struct RunOptions<'a> {
    /// One device, or several separated by commas, which compute the gradient of each batch together.
    pub(crate) device: &'a str,
    /// Where the task's splits are.
    pub(crate) data: &'a Path,
    /// The file of a mask selector's spec.
    pub(crate) mask: Option<&'a PathBuf>,
    /// Whether to rerun a run that is already there.
    pub(crate) again: bool,
    /// Whether to resume an interrupted run from its last checkpoint.
    pub(crate) resume: bool,
    /// Set to stop the run early.
    pub(crate) stop: &'a Arc<AtomicBool>,
    /// Shows its steps.
    pub(crate) bar: ProgressBar,
    /// Where its files are.
    pub(crate) runs: &'a Path,
}

/// Runs a spec and returns its record; a finished run is not repeated.
///
/// # Errors
/// Names what cannot be used; what was recorded until then is kept.
pub(crate) fn execute(store: &Store, spec: &RunSpec, options: RunOptions<'_>) -> Result<RunResult> {
    let name = record_name(&spec.id(), options.device);
    let record = options.runs.join(format!("{name}.jsonl"));
    let before = match fs::read_to_string(&record) {
        // A header that was cut in its writing is as good as none.
        Ok(text) if !options.again && text.contains('\n') => {
            Some(last_of(&text).with_context(|| record.display().to_string())?)
        }
        _ => None,
    };
    let task = apet_tasks::load(
        &spec.task,
        spec.seeds.batches,
        find_splits(options.data)?.read()?,
    )?;
    if let Some(r) = &before {
        // The spec names a task, not its rows: the same name may mean other data now.
        ensure!(
            r.header.task.data_hash == task.info().data_hash,
            "{}: this run was made with other rows of task {:?}; give the new data another --task name, or replace the record with --overwrite",
            record.display(),
            spec.task.name
        );
    }
    let resuming = match before {
        Some(r) if matches!(r.status(), Status::Done | Status::Diverged) => {
            return Ok(RunResult {
                record: r,
                existed: true,
            });
        }
        Some(_) if !options.resume => bail!(
            "{}: this run was interrupted; --resume continues from its last checkpoint, --overwrite starts it over",
            record.display()
        ),
        before => before.is_some(),
    };
    let devices: Vec<&str> = options.device.split(',').collect();
    let mut opened = device::open(devices[0])?;
    if opened.info.name == "cpu"
        && let Some(note) = shortage(store, spec, task.labels.len())
    {
        eprintln!("note: {note}");
    }
    memory::watch();
    let plm = model::load(store, &spec.model, spec.dtype, &opened)?;
    let gpu = (opened.info.name != "cpu").then(|| opened.device.clone());
    let workers = spawn_workers(store, &devices[1..], &task, spec)?;
    opened.info.name = options.device.to_owned();
    let mut terminal = Terminal::new(
        options.runs,
        &name,
        resuming,
        options.stop.clone(),
        options.bar,
        gpu,
        workers,
    )?;
    let input = RunInput {
        plm: &plm,
        task: &task,
        spec,
        device: opened.info,
        software: software(),
        mask: mask(store, options.mask, spec)?,
        start: start(store, spec)?,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        checkpoint: resuming.then(|| terminal.last_checkpoint()).flatten(),
        reason: String::new(),
        read_every: opened.read_every,
    };
    let outcome = futures_lite::future::block_on(apet_train::run(input, &mut terminal));
    terminal.end(outcome)?;
    let text = fs::read_to_string(&record).with_context(|| record.display().to_string())?;
    Ok(RunResult {
        record: last_of(&text)?,
        existed: false,
    })
}

/// The mask file that a spec names. One that is given is kept in the store, so that the run
/// can be repeated from its record.
fn mask(store: &Store, given: Option<&PathBuf>, spec: &RunSpec) -> Result<Option<Vec<u8>>> {
    let selects = spec.method.parts().iter().find_map(|part| match part {
        Method::Apet(Apet {
            select: Select::Mask { hash, .. },
            ..
        }) => Some(hash),
        _ => None,
    });
    let Some(hash) = selects else {
        return Ok(None);
    };
    check_name(hash)?;
    let kept = store.mask(hash);
    if let Some(given) = given {
        let bytes = fs::read(given).with_context(|| given.display().to_string())?;
        write_atomic(&kept, |file| Ok(file.write_all(&bytes)?))?;
    }
    let bytes = fs::read(&kept).with_context(|| {
        format!(
            "{}: the spec's mask is not there; give it with --mask FILE",
            kept.display()
        )
    })?;
    Ok(Some(bytes))
}

/// The theta file that a spec is initialised from.
fn start(store: &Store, spec: &RunSpec) -> Result<Option<Vec<u8>>> {
    let Some(start) = &spec.start else {
        return Ok(None);
    };
    check_name(&start.hash)?;
    let kept = store.start(&start.hash);
    let bytes = fs::read(&kept).with_context(|| {
        format!(
            "{}: the theta that the spec is initialised from is missing; give it with --init-from FILE",
            kept.display()
        )
    })?;
    Ok(Some(bytes))
}

fn software() -> SoftwareInfo {
    SoftwareInfo {
        apet: env!("CARGO_PKG_VERSION").into(),
        burn: "0.22.1".into(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        extra: Default::default(),
    }
}

/// The last record of a text: a run that was started over has several.
///
/// # Errors
/// When it cannot be read, or there is none.
pub(crate) fn last_of(text: &str) -> Result<RunRecord> {
    let mut records = RunRecord::parse(text)?;
    records.pop().context("no record in it")
}

/// Where a task's splits are: where they are said to be, or in the store.
///
/// # Errors
/// When they are not there.
pub(crate) fn data(store: &Store, given: Option<&Path>, spec: &RunSpec) -> Result<PathBuf> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    builtin::install_builtin(store, |inside| inside == spec.task.name)?;
    let dir = store.task(&spec.task.name);
    ensure!(
        dir.is_dir(),
        "task {:?} is not in the store; give --data DIR with its splits, or apet fetch --task {0} --from DIR",
        spec.task.name
    );
    Ok(dir)
}
