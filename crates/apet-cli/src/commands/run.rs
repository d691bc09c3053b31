//! `apet run`: one run, or the runs of a study.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use apet_record::{Metric, RunRecord, RunSpec, Start, Status, TaskSpec, Words};
use apet_store::{Store, builtin::DEFAULTS, check_name, theta::ThetaFile, write_atomic};

use crate::runner::execute::{RunOptions, RunResult, data, execute, last_of};
use crate::runner::settings::{Settings, word};
use crate::runner::{signal, terminal};
use crate::studies::worker::{WorkArgs, run_study};

/// Options of `apet run`. An option that is not given keeps the spec's default.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Read the spec from FILE: a RunSpec as JSON, or the record of a run to repeat; the other options change it
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Initialise from a theta: a run of the store, or a file. Without --spec, the other options change its spec
    #[arg(
        long,
        alias = "start",
        value_name = "RUN|FILE",
        conflicts_with = "resume"
    )]
    init_from: Option<String>,
    /// Tune this model: a name in the store, or a Hugging Face directory [default: ladder-micro, which comes with apet]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Tune on this task: sentences, rotten_tomatoes, sst2, any name together with --data, or a TOML file that
    /// describes a task [default: sentences, which comes with apet]
    #[arg(long, value_name = "NAME|FILE.toml")]
    task: Option<String>,
    /// Read the splits from DIR: train, validation and test files (JSONL, CSV, TSV, Parquet, Arrow)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Name the column of the text
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Name the column of the second text of a pair
    #[arg(long, value_name = "NAME")]
    text_pair_column: Option<String>,
    /// Name the column of the label
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// Train on N rows, drawn by the seed; 0 uses all
    #[arg(long, value_name = "N")]
    train_rows: Option<usize>,
    /// Train on K rows of each class, drawn by the seed
    #[arg(long, value_name = "K", conflicts_with = "train_rows")]
    shots: Option<usize>,
    /// Score answers by this metric; with one of the last three, the answers of a custom task are texts
    #[arg(long, value_name = "accuracy|f1|matthews|squad_f1|rouge_l|bleu")]
    metric: Option<String>,
    /// Name the classes in a language model's answer by their labels or by their numbers
    #[arg(long, alias = "words", value_name = "labels|numbers")]
    verbalizer: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    work: WorkArgs,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N; several, separated by commas, share every batch, or with
    /// --jobs the runs [default: cpu]
    #[arg(long)]
    device: Option<String>,
    /// Resume from the last checkpoint of this run, or of the run with this id on its device
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    resume: Option<Option<String>>,
    /// Rerun a run that the store already has, and overwrite its record
    #[arg(long, alias = "again", conflicts_with = "resume")]
    overwrite: bool,
    /// Print the spec as JSON and do nothing else
    #[arg(long)]
    print_spec: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs what `args` describes; a finished run is only shown.
///
/// # Errors
/// Names what cannot be used; what was recorded until then is kept.
pub(crate) fn run(store: &Store, args: &RunArgs) -> Result<()> {
    if args.print_spec {
        let spec = args.spec(args.start(store)?.as_ref())?;
        println!("{}", serde_json::to_string_pretty(&spec)?);
        return Ok(());
    }
    if let Some(study) = &args.work.study {
        return run_study(
            store,
            study,
            &args.work,
            args.device.as_deref().unwrap_or("cpu"),
        );
    }
    let (spec, device) = match &args.resume {
        Some(Some(run)) => earlier(store, run, args.device.as_deref())?,
        _ => {
            let start = args.start(store)?;
            let spec = args.spec(start.as_ref())?;
            if let (Some(start), Some(file)) = (&spec.start, start) {
                // So that the run can be repeated from its record.
                write_atomic(&store.start(&start.hash), |out| {
                    Ok(out.write_all(file.bytes())?)
                })?;
            }
            (spec, args.device.clone().unwrap_or("cpu".into()))
        }
    };
    let data = data(store, args.data.as_deref(), &spec)?;
    let options = RunOptions {
        device: &device,
        data: &data,
        mask: args.settings.mask(),
        again: args.overwrite,
        resume: args.resume.is_some(),
        stop: &signal::stop()?,
        bar: terminal::bar(spec.train.steps)?,
        runs: &store.runs(),
    };
    let RunResult { record, existed } = execute(store, &spec, options)?;
    if existed {
        eprintln!("this run is already there; --overwrite reruns it");
    }
    show(&record, args.json)?;
    match record.summary() {
        Some(s) if s.status == Status::Diverged && !existed => bail!("{}", s.message),
        _ => Ok(()),
    }
}

impl RunArgs {
    /// The theta that the run begins with, where one is given.
    ///
    /// # Errors
    /// When it is none.
    fn start(&self, store: &Store) -> Result<Option<ThetaFile>> {
        let opened = self
            .init_from
            .as_ref()
            .map(|start| ThetaFile::open(store, start));
        opened.transpose()
    }

    /// The spec that the options make, beginning with `start`.
    ///
    /// # Errors
    /// Names the option, what was found and what was expected.
    fn spec(&self, start: Option<&ThetaFile>) -> Result<RunSpec> {
        let mut spec = match &self.spec {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                let record = RunRecord::parse_without_steps(&text).ok();
                match record.as_deref() {
                    Some([record]) => record.header.spec.clone(),
                    _ => RunSpec::from_json(&text).with_context(|| path.display().to_string())?,
                }
            }
            None => match start.map(ThetaFile::spec).transpose()?.flatten() {
                Some(spec) => spec,
                None => RunSpec::new(DEFAULTS.0, DEFAULTS.1),
            },
        };
        if let Some(file) = start {
            spec.start = Some(Start::of(file.name(), file.bytes()));
        }
        if let Some(model) = &self.model {
            spec.model.clone_from(model);
        }
        match &self.task {
            Some(file) if file.ends_with(".toml") => spec.task = described(file)?,
            Some(name) => spec.task.name.clone_from(name),
            None => {}
        }
        for (place, value) in [
            (&mut spec.task.text_column, &self.text_column),
            (&mut spec.task.text_pair_column, &self.text_pair_column),
            (&mut spec.task.label_column, &self.label_column),
        ] {
            if value.is_some() {
                place.clone_from(value);
            }
        }
        if let Some(metric) = &self.metric {
            spec.task.metric = Some(word::<Metric>("--metric", metric)?);
        }
        if let Some(words) = &self.verbalizer {
            spec.task.words = word::<Words>("--verbalizer", words)?;
        }
        spec.task.train_rows = self.train_rows.unwrap_or(spec.task.train_rows);
        spec.task.shots = self.shots.unwrap_or(spec.task.shots);
        if self.shots.is_some() {
            spec.task.train_rows = 0;
        }
        if self.train_rows.is_some() {
            spec.task.shots = 0;
        }
        self.settings.change(&mut spec)?;
        Ok(spec)
    }
}

/// The task of a TOML file.
fn described(file: &str) -> Result<TaskSpec> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().map_or("", |at| &text[..at.start]);
        let line = before.matches('\n').count() + 1;
        anyhow::anyhow!("{file}: line {line}: {}", error.message())
    })
}

/// The spec and the device of an earlier run, from its id. A run that is there for
/// several devices needs `device`.
fn earlier(store: &Store, run: &str, device: Option<&str>) -> Result<(RunSpec, String)> {
    check_name(run)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(store.runs()).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if !(file.starts_with(&format!("{run}-")) && file.ends_with(".jsonl")) {
            continue;
        }
        let text = fs::read_to_string(entry.path()).with_context(|| file.clone())?;
        let header = last_of(&text).context(file)?.header;
        if device.is_none_or(|device| device == header.device.name) {
            found.push((header.spec, header.device.name));
        }
    }
    let devices: Vec<_> = found.iter().map(|(_, device)| device.as_str()).collect();
    ensure!(
        found.len() < 2,
        "run {run} is in the store for the devices {}; say which with --device",
        devices.join(" and ")
    );
    found
        .pop()
        .with_context(|| format!("{}: found no run {run} there", store.runs().display()))
}

/// Prints a run's table, or its header and summary as JSON.
fn show(record: &RunRecord, json: bool) -> Result<()> {
    let header = &record.header;
    if json {
        let summary = record.summary();
        let value = serde_json::json!({ "header": header, "summary": summary });
        println!("{value}");
        return Ok(());
    }
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let theta = &header.theta;
    let share = theta.trainable_parameters as f64 / header.model.parameters.max(1) as f64;
    let mut rows = vec![
        ("run", header.run.clone()),
        (
            "model",
            format!(
                "{}, {} parameters",
                header.model.name, header.model.parameters
            ),
        ),
        (
            "task",
            format!(
                "{}, {} / {} / {} rows",
                header.task.name,
                header.task.train_rows,
                header.task.dev_rows,
                header.task.test_rows
            ),
        ),
        (
            "method",
            format!(
                "{}, {} tuned ({}), head {}",
                theta.method,
                theta.trainable_parameters,
                percent(share),
                theta.head
            ),
        ),
        (
            "device",
            format!("{}, {}", header.device.name, header.device.adapter),
        ),
    ];
    if let Some(s) = record.summary() {
        let score = |s: Option<f64>| s.map_or("-".into(), percent);
        rows.push((
            "status",
            format!("{:?}, {} steps, {:.1} s", s.status, s.steps, s.seconds).to_lowercase(),
        ));
        rows.push(("dev", format!("{} at step {}", score(s.dev), s.best_step)));
        rows.push(("test", score(s.test)));
        if let Some(peak) = s.peak_bytes {
            rows.push(("memory", format!("at most {}", indicatif::HumanBytes(peak))));
        }
        if !s.message.is_empty() {
            rows.push(("message", s.message.clone()));
        }
    }
    let (metric, task) = (header.task.metric, &header.task);
    rows.push(("scored by", metric.title().into()));
    if !metric.of_texts() {
        let (uniform, majority) = (percent(task.uniform_guess), percent(task.majority_guess));
        let guess = format!("{uniform} uniform, {majority} majority of dev");
        rows.push(("guess", guess));
    }
    if !header.task.split_note.is_empty() {
        rows.push(("splits", header.task.split_note.clone()));
    }
    for (name, value) in rows {
        println!("{name:<9} {value}");
    }
    Ok(())
}
