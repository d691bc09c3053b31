//! The loop around the step: evaluate, keep the best, write the record, resume.

use std::collections::HashMap;

use apet_plm::Plm;
use apet_record::{
    DeviceInfo, Eval, Header, Line, Note, RECORD_VERSION, RunSpec, SoftwareInfo, SpecError, Start,
    Status, Step, Summary,
};
use apet_tasks::Task;
use apet_theta::{FileError, Placed, Theta};
use burn::Tensor;

use crate::{
    Control, Host, Scores, StepResult, TrainError, Trainer,
    checkpoint::{self, Progress, State},
    choose::choose,
    timings::{StepPhase, Stopwatch},
    trainer::read,
};

/// What a run starts from.
#[derive(Debug)]
pub struct RunInput<'a> {
    /// The frozen model, on the run's device.
    pub plm: &'a Plm,
    /// The task.
    pub task: &'a Task,
    /// What decides the run.
    pub spec: &'a RunSpec,
    /// Where it runs, for the record.
    pub device: DeviceInfo,
    /// With what, for the record.
    pub software: SoftwareInfo,
    /// When it started, RFC 3339, for the record.
    pub started: String,
    /// The mask file that the spec names, where it names one.
    pub mask: Option<Vec<u8>>,
    /// The theta file from which the spec is initialised, if it names one.
    pub start: Option<Vec<u8>>,
    /// The last checkpoint, to resume from.
    pub checkpoint: Option<Vec<u8>>,
    /// Why it goes on, for the record.
    pub reason: String,
    /// Steps between reads of the loss: 1 where a read costs nothing.
    pub read_every: usize,
}

/// What a run of a spec steps with, as it begins: for those who help it.
///
/// # Errors
/// When the spec does not fit the model or the task.
pub async fn trainer<'a>(
    plm: &'a Plm,
    task: &Task,
    spec: &RunSpec,
) -> Result<Trainer<'a>, TrainError> {
    spec.check()?;
    let chosen = choose(plm, task, spec, None).await?;
    Trainer::new(plm, task, spec, chosen.as_ref())
}

/// What a run ends with.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The record's last line.
    pub summary: Summary,
    /// theta at its best dev score, as a safetensors file; as it was at the end where a run was stopped before it had one.
    pub theta: Vec<u8>,
}

/// Runs a spec to its end, or until the host stops it or the loss is NaN.
///
/// # Errors
/// If the run cannot start or continue. Lines written so far are kept, and
/// the run resumes from its last checkpoint when called with it.
pub async fn run<H: Host>(input: RunInput<'_>, host: &mut H) -> Result<Outcome, TrainError> {
    let spec = input.spec;
    host.progress("tokenizing");
    spec.check()?;
    let kept = input.checkpoint.as_deref().and_then(checkpoint::chosen);
    let chosen = match kept {
        Some(kept) => Some(kept),
        None => choose(input.plm, input.task, spec, input.mask.as_deref()).await?,
    };
    let mut trainer = Trainer::new(input.plm, input.task, spec, chosen.as_ref())?;
    begin(&mut trainer, input.start.as_deref())?;
    trainer.stopwatch = Stopwatch::new(host.clock());
    let mut recorder = Recorder::new(host, &trainer, &input)?;
    let mut progress = recorder.progress.clone();
    let begin = trainer.theta.values();
    let mut best = match &input.checkpoint {
        None => begin.clone(),
        Some(bytes) => {
            let (state, found) = restore(&mut trainer, bytes, &progress.run)?;
            progress = found;
            recorder.resume(&progress, &input.reason)?;
            state.best
        }
    };
    let mut sampler = trainer.sampler();
    let next = |sampler: &mut crate::trainer::Sampler| -> Vec<Vec<usize>> {
        let batches = std::iter::repeat_with(|| sampler.batch(spec.train.batch_size));
        batches.take(spec.train.accumulation).collect()
    };
    for _ in 0..progress.step {
        next(&mut sampler);
    }

    let steps = spec.train.steps;
    let mut status = Status::Done;
    let mut pending: Vec<(usize, f64, StepResult)> = Vec::new();
    if progress.step == 0 {
        recorder.host.progress("compiling kernels");
    }
    while progress.step < steps {
        if recorder.host.turn().await.map_err(TrainError::Device)? == Control::Stop {
            status = Status::Stopped;
            break;
        }
        let rate = spec.optimizer.rate(progress.step, steps);
        let rows = next(&mut sampler);
        let result = trainer.step_with(recorder.host, &rows, rate).await?;
        progress.step += 1;
        pending.push((progress.step, rate, result));

        let step = progress.step;
        let evaluate = step.is_multiple_of(spec.train.eval_every) || step == steps;
        let every = spec.train.checkpoint_every;
        let keep = evaluate || (every > 0 && step.is_multiple_of(every));
        if keep || pending.len() >= input.read_every {
            // The values that led to a NaN loss must not be saved in a checkpoint.
            trainer.stopwatch.lap(StepPhase::Other);
            let finite = recorder.steps(std::mem::take(&mut pending)).await?;
            trainer.stopwatch.lap(StepPhase::ReadBack);
            recorder.host.timings(trainer.stopwatch.take());
            if !finite {
                status = Status::Diverged;
                break;
            }
        }
        if evaluate {
            recorder.host.progress("evaluating");
            let dev = trainer.score_dev().await?;
            if !dev.loss.is_finite() {
                status = Status::Diverged;
                break;
            }
            recorder.eval(step, "dev", dev)?;
            if progress.best_dev.is_none_or(|b| dev.score > b) {
                progress.best_dev = Some(dev.score);
                progress.best_step = step;
                progress.waited = 0;
                best = trainer.theta.values();
            } else {
                progress.waited += 1;
            }
        }
        if keep {
            progress.seconds = recorder.seconds();
            save(&mut recorder, &trainer, &progress, &best, chosen.as_ref()).await?;
        }
        if evaluate && spec.train.patience > 0 && progress.waited >= spec.train.patience {
            let text = format!(
                "stopped early: no better dev score in {} evaluations",
                progress.waited
            );
            recorder.note(step, text)?;
            break;
        }
    }
    if !pending.is_empty() && !recorder.steps(pending).await? {
        status = Status::Diverged;
    }
    if status == Status::Stopped && progress.step > 0 {
        // Nothing is lost that was done since the last one.
        progress.seconds = recorder.seconds();
        save(&mut recorder, &trainer, &progress, &best, chosen.as_ref()).await?;
        // Where dev said of no step that it was the best, what it tuned is what it has.
        if progress.best_dev.is_none() {
            best = trainer.theta.values();
            progress.best_step = progress.step;
        }
    }
    let way = (begin, best);
    finish(
        &mut trainer,
        input.plm,
        &mut recorder,
        progress,
        way,
        status,
    )
    .await
}

/// Puts the values of the file that the spec begins with into theta.
fn begin(trainer: &mut Trainer<'_>, file: Option<&[u8]>) -> Result<(), TrainError> {
    let Some(start) = trainer.spec().start.clone() else {
        return Ok(());
    };
    let wrong = |problem: String| {
        TrainError::Spec(SpecError {
            field: "start.theta".into(),
            problem,
        })
    };
    let file = file.ok_or_else(|| {
        let Start { theta, hash } = &start;
        wrong(format!(
            "found no theta \"{theta}\" in the store, expected starts/{hash}.safetensors"
        ))
    })?;
    start.check_file(file)?;
    let plm = trainer.plm();
    let found = Theta::read(plm, file).and_then(|found| {
        found.check_same(&trainer.theta, plm.architecture())?;
        // A head that is not there, as of an adapter of peft, is learned from its beginning: it stands last.
        let own = trainer.theta.values();
        let (there, all) = (found.layout().len(), own.dims()[0]);
        Ok(match there < all {
            true => Tensor::cat(vec![found.values(), own.slice(there..all)], 0),
            false => found.values(),
        })
    });
    let named = |e: FileError| wrong(format!("{}: {e}", start.theta));
    trainer.set_values(found.map_err(named)?);
    Ok(())
}

/// Keeps everything that a run needs to go on.
async fn save<H: Host>(
    recorder: &mut Recorder<'_, H>,
    trainer: &Trainer<'_>,
    progress: &Progress,
    best: &Tensor<1>,
    chosen: Option<&Placed>,
) -> Result<(), TrainError> {
    let state = State {
        values: trainer.theta.values(),
        moments: trainer.optimizer.moments.clone(),
        best: best.clone(),
    };
    let bytes = checkpoint::write(state, progress, chosen).await?;
    recorder.host.checkpoint(&bytes).map_err(TrainError::Host)
}

/// Scores test once with the best values, and writes the summary.
async fn finish<H: Host>(
    trainer: &mut Trainer<'_>,
    plm: &Plm,
    recorder: &mut Recorder<'_, H>,
    progress: Progress,
    (begin, best): (Tensor<1>, Tensor<1>),
    status: Status,
) -> Result<Outcome, TrainError> {
    trainer.theta.set_values(best.clone());
    let mut test = None;
    if status == Status::Done {
        recorder.host.progress("scoring test");
        let scores = trainer.score_test().await?;
        recorder.eval(progress.best_step, "test", scores)?;
        test = Some(scores.score);
        let spec = trainer.spec().clone();
        if spec.train.landscape > 0 {
            recorder.host.progress("measuring the loss around theta");
            let found = trainer.landscape(&spec, begin).await?;
            recorder.line(Line::Landscape(found))?;
        }
    }
    let message = match status {
        Status::Diverged => format!(
            "the loss was not a number at step {}; theta of step {} is kept; a smaller learning rate may help",
            recorder.last_step, progress.best_step
        ),
        Status::Stopped => format!(
            "stopped at step {} of {}",
            progress.step, recorder.steps_planned
        ),
        _ => String::new(),
    };
    let summary = Summary {
        status,
        steps: progress.step,
        best_step: progress.best_step,
        dev: progress.best_dev,
        test,
        seconds: recorder.seconds(),
        peak_bytes: recorder.host.peak_bytes(),
        message,
        extra: Default::default(),
    };
    let metadata = HashMap::from([
        ("apet_run".to_owned(), progress.run.clone()),
        ("apet_spec".to_owned(), recorder.spec_json.clone()),
    ]);
    let values = read(best).await?;
    let theta = trainer
        .theta
        .to_safetensors(plm.architecture(), &values, metadata)
        .map_err(|e| TrainError::Host(e.to_string()))?;
    recorder.line(Line::Summary(summary.clone()))?;
    Ok(Outcome { summary, theta })
}

fn restore(
    trainer: &mut Trainer<'_>,
    bytes: &[u8],
    run: &str,
) -> Result<(State, Progress), TrainError> {
    let values = trainer.theta.values();
    let (state, progress) = checkpoint::parse(bytes, run, values.dims()[0], &values.device())?;
    trainer.theta.set_values(state.values.clone());
    trainer.optimizer.moments = state.moments.clone();
    trainer.optimizer.updates = progress.step;
    Ok((state, progress))
}

/// Writes the record's lines.
struct Recorder<'h, H: Host> {
    host: &'h mut H,
    progress: Progress,
    spec_json: String,
    steps_planned: usize,
    begun: f64,
    seconds_before: f64,
    last_step: usize,
}

impl<'h, H: Host> Recorder<'h, H> {
    /// Writes the header, unless the run goes on.
    fn new(
        host: &'h mut H,
        trainer: &Trainer<'_>,
        input: &RunInput<'_>,
    ) -> Result<Self, TrainError> {
        let run = input.spec.id();
        let begun = host.now();
        let mut recorder = Self {
            host,
            progress: Progress {
                run: run.clone(),
                ..Default::default()
            },
            spec_json: apet_record::canonical_json(input.spec).unwrap_or_default(),
            steps_planned: input.spec.train.steps,
            begun,
            seconds_before: 0.0,
            last_step: 0,
        };
        if input.checkpoint.is_none() {
            let header = Header {
                record: RECORD_VERSION.into(),
                run,
                spec: input.spec.clone(),
                model: input.plm.info().clone(),
                theta: trainer.theta.info().clone(),
                task: input.task.info(),
                device: input.device.clone(),
                software: input.software.clone(),
                started: input.started.clone(),
                extra: Default::default(),
            };
            recorder.line(Line::Header(Box::new(header)))?;
        }
        Ok(recorder)
    }

    fn resume(&mut self, from: &Progress, reason: &str) -> Result<(), TrainError> {
        self.seconds_before = from.seconds;
        let because = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        self.note(from.step, format!("resumed at step {}{because}", from.step))
    }

    fn line(&mut self, line: Line) -> Result<(), TrainError> {
        self.host.line(&line).map_err(TrainError::Host)
    }

    fn note(&mut self, step: usize, text: String) -> Result<(), TrainError> {
        self.line(Line::Note(Note {
            step,
            text,
            extra: Default::default(),
        }))
    }

    fn eval(&mut self, step: usize, split: &str, scores: Scores) -> Result<(), TrainError> {
        self.line(Line::Eval(Eval {
            step,
            split: split.into(),
            metric: scores.metric.name().into(),
            score: scores.score,
            loss: Some(scores.loss),
            rows: scores.rows,
            extra: Default::default(),
        }))
    }

    /// Reads the results of several steps from the device at once, and writes their lines.
    /// Returns false at a NaN loss: its line and later ones are not written.
    async fn steps(&mut self, steps: Vec<(usize, f64, StepResult)>) -> Result<bool, TrainError> {
        let figures = steps
            .iter()
            .flat_map(|(_, _, r)| [r.loss.clone(), r.grad_norm.clone()]);
        let figures = read(Tensor::cat(figures.collect(), 0)).await?;
        let ms = self.host.now() - self.begun;
        for ((step, rate, result), figure) in steps.into_iter().zip(figures.chunks_exact(2)) {
            self.last_step = step;
            if !(figure[0].is_finite() && figure[1].is_finite()) {
                return Ok(false);
            }
            self.line(Line::Step(Step {
                step,
                loss: f64::from(figure[0]),
                learning_rate: rate,
                grad_norm: f64::from(figure[1]),
                tokens: result.tokens,
                ms,
                extra: Default::default(),
            }))?;
        }
        Ok(true)
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + (self.host.now() - self.begun) / 1000.0
    }
}
