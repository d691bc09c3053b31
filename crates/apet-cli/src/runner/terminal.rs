//! Where a native run runs: files of the store, a progress bar, Ctrl-C.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Instant;

use anyhow::{Context, Result};
use apet_record::Line;
use apet_store::write_atomic;
use apet_train::{Control, GradientWorkers, Host, Outcome, Shard, ShardGradient, TrainError};
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};

use super::memory;
use super::worker_pool::WorkerPool;

/// The host of a native run.
pub(crate) struct Terminal {
    record: File,
    record_path: PathBuf,
    checkpoint: PathBuf,
    theta: PathBuf,
    bar: ProgressBar,
    begun: Instant,
    stop: Arc<AtomicBool>,
    last_dev: String,
    /// The device whose memory the run holds, where that is not this process's.
    gpu: Option<Device>,
    workers: WorkerPool,
}

/// A bar of a run's steps.
///
/// # Errors
/// None, as its style is fixed.
pub(crate) fn bar(steps: usize) -> Result<ProgressBar> {
    let bar = ProgressBar::new(steps as u64);
    let style = "{wide_bar} {pos}/{len} steps, {per_sec}, {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

impl Terminal {
    /// Opens the run's files; the record of a resumed run keeps its lines.
    /// `name` is that of the record, see [`apet_record::record_name`].
    pub(crate) fn new(
        runs: &Path,
        name: &str,
        resuming: bool,
        stop: Arc<AtomicBool>,
        bar: ProgressBar,
        gpu: Option<Device>,
        workers: WorkerPool,
    ) -> Result<Self> {
        fs::create_dir_all(runs).with_context(|| runs.display().to_string())?;
        let path = |suffix: &str| runs.join(format!("{name}.{suffix}"));
        let record_path = path("jsonl");
        let checkpoint = path("checkpoint.safetensors");
        // Without a checkpoint there is nothing to resume from: the run starts over.
        let resuming = resuming && checkpoint.exists();
        let record = open_record(&record_path, resuming)
            .with_context(|| record_path.display().to_string())?;
        if !resuming && checkpoint.exists() {
            fs::remove_file(&checkpoint).with_context(|| checkpoint.display().to_string())?;
        }
        Ok(Self {
            record,
            record_path,
            checkpoint,
            theta: path("theta.safetensors"),
            bar,
            begun: Instant::now(),
            stop,
            last_dev: String::new(),
            gpu,
            workers,
        })
    }

    /// The run's last checkpoint, if it came to one.
    pub(crate) fn last_checkpoint(&self) -> Option<Vec<u8>> {
        fs::read(&self.checkpoint).ok()
    }

    /// Keeps theta, removes the checkpoint of a run that needs none any more.
    pub(crate) fn end(self, outcome: Result<Outcome, TrainError>) -> Result<Outcome> {
        self.bar.finish_and_clear();
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // A run that could not begin leaves nothing behind.
                if self.record.metadata().is_ok_and(|about| about.len() == 0) {
                    fs::remove_file(&self.record_path).ok();
                }
                return Err(error.into());
            }
        };
        write_atomic(&self.theta, |out| Ok(out.write_all(&outcome.theta)?))?;
        self.record
            .sync_all()
            .with_context(|| self.record_path.display().to_string())?;
        if outcome.summary.status != apet_record::Status::Stopped && self.checkpoint.exists() {
            fs::remove_file(&self.checkpoint)
                .with_context(|| self.checkpoint.display().to_string())?;
        }
        Ok(outcome)
    }
}

/// Opens a record for appending, locked against a second process. A line that a
/// kill cut in its middle is removed.
fn open_record(path: &Path, resuming: bool) -> Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path)?;
    file.try_lock()
        .map_err(|_| anyhow::anyhow!("another process is making this run"))?;
    if resuming {
        let text = fs::read(path)?;
        let whole = text
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
    } else {
        file.set_len(0)?;
    }
    Ok(file)
}

impl GradientWorkers for Terminal {
    fn count(&self) -> usize {
        self.workers.count()
    }

    fn send(&mut self, values: &[f32], shards: Vec<Vec<Shard>>) -> Result<(), String> {
        self.workers.send(values, shards)
    }

    async fn receive(&mut self) -> Result<Vec<ShardGradient>, String> {
        self.workers.receive().await
    }
}

impl Host for Terminal {
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() * 1000.0
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        match line {
            Line::Step(step) => {
                self.bar.set_position(step.step as u64);
                self.bar
                    .set_message(format!("loss {:.3}{}", step.loss, self.last_dev));
            }
            Line::Eval(eval) => {
                self.last_dev = format!(", {} {:.2} %", eval.split, eval.score * 100.0);
            }
            Line::Note(note) => self.bar.println(&note.text),
            _ => {}
        }
        // One write a line: a kill leaves whole lines, and at most one cut one.
        let text = line.to_json() + "\n";
        self.record.write_all(text.as_bytes()).map_err(|e| {
            format!(
                "{}: {e}; free some space, then continue with --resume",
                self.record_path.display()
            )
        })
    }

    fn checkpoint(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.record
            .sync_data()
            .map_err(|e| format!("{}: {e}", self.record_path.display()))?;
        write_atomic(&self.checkpoint, |out| Ok(out.write_all(bytes)?))
            .map_err(|e| format!("{e:#}; free some space, then continue with --resume"))
    }

    fn peak_bytes(&self) -> Option<u64> {
        match &self.gpu {
            None => Some(memory::peak()),
            Some(device) => device.memory_pool_usage().map(|used| used.bytes_reserved),
        }
    }

    fn progress(&mut self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    async fn turn(&mut self) -> Result<Control, String> {
        Ok(if self.stop.load(Ordering::Relaxed) {
            Control::Stop
        } else {
            Control::Go
        })
    }
}
