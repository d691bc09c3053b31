//! `apet demo`: the scaling experiment on the models inside the binary, and its report.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use apet_record::RunSpec;
use apet_store::{Store, builtin, write_atomic};
use apet_study::{DEMO, Grid, PRESETS, Plan, Stage, Study};
use indicatif::{ProgressBar, ProgressStyle};

use crate::runner::execute::{RunOptions, execute};
use crate::runner::signal;

/// Options of `apet demo`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Runs that the store already has are skipped, so the same command resumes a stopped demo. The page shows the runs, \
                  too (apet serve)."
)]
pub(crate) struct DemoArgs {
    /// Run one question of the demo (methods, positions or counts), or a study from a TOML file
    #[arg(value_name = "QUESTION|STUDY.toml")]
    study: Option<PathBuf>,
    /// Take tasks from the subdirectories of DIR before the store
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write the report as Markdown
    #[arg(short, long, alias = "out", value_name = "FILE")]
    output: Option<PathBuf>,
    /// List the runs and do nothing else
    #[arg(long)]
    dry_run: bool,
}

/// Runs the demo and prints its report.
///
/// # Errors
/// Names what cannot be run; the runs that are done are kept.
pub(crate) fn demo(store: &Store, args: &DemoArgs) -> Result<()> {
    let plan = match &args.study {
        Some(study) => plan(study).with_context(|| study.display().to_string())?,
        None => Plan::new(Grid::parse(DEMO)?)?,
    };
    let grid = plan.grid();
    println!("{}: {} runs. {}", grid.name, plan.len(), grid.about);
    if args.dry_run {
        for run in 0..plan.len() {
            match plan.spec(run, &|_| None) {
                Ok(spec) => println!("{} {}", spec.id(), title(&spec)),
                Err(tuning) => println!("{run}: with the best learning rate of {tuning:?}"),
            }
        }
        return Ok(());
    }
    builtin::install_builtin(store, |name| grid.uses(name))?;
    let stop = signal::stop()?;
    let bar = ProgressBar::new(plan.len() as u64);
    let style = "{wide_bar} {pos}/{len} runs, {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    bar.tick();
    let begun = Instant::now();
    let mut study = Study::new();
    let (mut made, mut dev) = (0, Vec::new());
    for run in 0..plan.len() {
        let scores = |run: usize| dev.get(run).copied();
        let spec = plan.spec(run, &scores);
        let spec = &spec.map_err(|runs| anyhow!("run {run} needs the runs {runs:?}"))?;
        bar.set_message(title(spec));
        let data = match &args.data {
            Some(folder) if folder.join(&spec.task.name).is_dir() => folder.join(&spec.task.name),
            _ => store.task(&spec.task.name),
        };
        let options = RunOptions {
            device: &args.device,
            data: &data,
            mask: None,
            again: false,
            resume: true,
            stop: &stop,
            bar: ProgressBar::hidden(),
            runs: &store.runs(),
        };
        let found = execute(store, spec, options).with_context(|| title(spec))?;
        if stop.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            bail!("stopped; run the same command to resume");
        }
        made += usize::from(!found.existed);
        let score = found.record.summary().and_then(|summary| summary.dev);
        dev.push(score.unwrap_or(f64::NEG_INFINITY));
        // What chose a learning rate is no evidence of what that rate is worth.
        if plan.of_stage(Stage::Main).contains(&run) {
            study.add("demo", &found.record.to_jsonl())?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let report = study.report(&grid.name, &grid.about, None);
    print!("{report}");
    println!("\n{made} runs made in {minutes:.1} minutes, the others were there.");
    if let Some(path) = &args.output {
        write_atomic(path, |out| Ok(out.write_all(report.as_bytes())?))?;
        println!("{}: written", path.display());
    }
    Ok(())
}

/// The plan of a preset by its name, or of a study's file.
fn plan(study: &Path) -> Result<Plan> {
    for text in PRESETS {
        let preset = Grid::parse(text)?;
        if study.as_os_str() == preset.name.as_str() {
            return Ok(Plan::new(preset)?);
        }
    }
    Ok(Plan::new(Grid::parse(&fs::read_to_string(study)?)?)?)
}

/// What a reader tells the study's runs apart by.
fn title(spec: &RunSpec) -> String {
    let count = match &spec.method {
        apet_record::Method::Apet(apet_record::Apet { count, .. }) => format!(" {count}"),
        _ => String::new(),
    };
    let (model, task, method) = (&spec.model, &spec.task.name, spec.method.name());
    format!("{model} {task} {method}{count} seed {}", spec.seeds.init)
}
