//! `apet submit`: a study's open runs as the job arrays of a scheduler that is there, or on this machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use apet_store::{Store, write_atomic};
use apet_study::Stage;

use crate::studies::cost::speed;
use crate::studies::study_dir::{StudyDir, plain};
use crate::studies::worker::{LocalWorkers, spawn_local_workers};

/// Numbers an array may have where Slurm does not say: its default.
const SLURM_MOST: usize = 1001;

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scheduler {
    /// This machine
    Local,
    /// sbatch
    Slurm,
    /// HyperQueue
    Hq,
}

/// Options of `apet submit`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Finished and failed runs are left out, so the same command resubmits what a scheduler ended early."
)]
pub(crate) struct SubmitArgs {
    /// The study directory, by a path that the workers see, too
    #[arg(value_name = "DIR")]
    study: PathBuf,
    /// Submit to this scheduler
    #[arg(long, value_enum)]
    to: Scheduler,
    /// Write and print the scripts, and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Run at most K runs at once
    #[arg(long, value_name = "K")]
    throttle: Option<usize>,
    /// Request N processor cores for each run
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: usize,
    /// Request N GPUs for each run [default: 0 on cpu, otherwise 1]
    #[arg(long, value_name = "N")]
    gpus: Option<usize>,
    /// Limit each run to N minutes [default: twice the planned time plus 10]
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Request N MiB of memory for each run [default: 4/3 of the planned memory plus 512]
    #[arg(long, value_name = "N")]
    memory: Option<u64>,
    /// Assume a device with N x 10^12 operations a second [default: this machine's cpu, measured]
    #[arg(long, value_name = "N")]
    tflops: Option<f64>,
    /// Seconds without a sign of life after which a worker counts as dead
    #[arg(long, value_name = "S", default_value_t = 120.0)]
    lease: f64,
    /// Pass an option to the scheduler, such as --partition=gpu; can be repeated
    #[arg(long = "with", value_name = "OPTION", allow_hyphen_values = true)]
    options: Vec<String>,
}

/// What each run of a stage asks for.
struct Resources {
    minutes: u64,
    mebibytes: u64,
    gpus: usize,
}

/// Some runs of a stage.
struct JobArray {
    stage: Stage,
    /// What is added to the scheduler's numbers.
    first: usize,
    /// Numbers less `first`.
    numbers: Vec<usize>,
}

/// Submits a study's open runs.
///
/// # Errors
/// When there is no study or nothing to do, or the scheduler refuses.
pub(crate) fn submit(store: &Store, args: &SubmitArgs) -> Result<()> {
    let root = fs::canonicalize(&args.study).with_context(|| args.study.display().to_string())?;
    let folder = StudyDir::open(&root)?;
    if args.to == Scheduler::Local {
        let devices: Vec<&str> = args.device.split(',').collect();
        let jobs = args.throttle.unwrap_or(1);
        ensure!(
            !args.dry_run,
            "--dry-run: a local study has no script; apet plan says what it is"
        );
        return spawn_local_workers(
            &root,
            &LocalWorkers {
                jobs,
                lease: args.lease,
            },
            &devices,
        );
    }
    let most = match args.to {
        Scheduler::Slurm => slurm_most(),
        _ => usize::MAX,
    };
    let arrays = arrays(&folder, most);
    ensure!(
        !arrays.is_empty(),
        "nothing to submit: every run is done or has failed; apet status says which"
    );
    let resources = resources(&folder, args)?;
    let logs = root.join("logs");
    fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    let program = std::env::current_exe()?;
    let worker = worker(&program, &root, store, args)?;
    match args.to {
        Scheduler::Slurm => slurm(&folder, args, &arrays, &resources, &worker),
        _ => hq(&folder, args, &arrays, &resources, &worker),
    }
}

/// The open runs, in arrays whose numbers are below `most`.
fn arrays(folder: &StudyDir, most: usize) -> Vec<JobArray> {
    let mut arrays: Vec<JobArray> = Vec::new();
    for stage in [Stage::Tune, Stage::Main] {
        let mut array: Option<JobArray> = None;
        for run in folder.plan.of_stage(stage) {
            let id = folder.spec(run).map(|spec| spec.id());
            let there = |path: PathBuf| path.exists();
            let open =
                id.is_none_or(|id| !(there(folder.record(&id)) || there(folder.failure(&id))));
            if !open {
                continue;
            }
            match &mut array {
                Some(array) if run - array.first < most => array.numbers.push(run - array.first),
                _ => {
                    arrays.extend(array.take());
                    array = Some(JobArray {
                        stage,
                        first: run,
                        numbers: vec![0],
                    });
                }
            }
        }
        arrays.extend(array);
    }
    arrays
}

/// What the dearest run asks for.
fn resources(folder: &StudyDir, args: &SubmitArgs) -> Result<Resources> {
    let speed = speed(args.tflops)?;
    let cells = &folder.manifest.cells;
    let seconds = cells
        .iter()
        .map(|cost| cost.operations / speed)
        .fold(0.0, f64::max);
    let bytes = cells.iter().map(|cost| cost.bytes).max().unwrap_or(0);
    Ok(Resources {
        minutes: args
            .minutes
            .unwrap_or((2.0 * seconds / 60.0).ceil() as u64 + 10),
        mebibytes: args.memory.unwrap_or((bytes >> 20) * 4 / 3 + 512),
        gpus: args.gpus.unwrap_or(usize::from(args.device != "cpu")),
    })
}

/// The command of one run, but for its first number.
fn worker(program: &Path, root: &Path, store: &Store, args: &SubmitArgs) -> Result<String> {
    let words = [
        format!(
            "APET_HOME={}",
            quoted(&std::path::absolute(store.root())?.display().to_string())
        ),
        "exec".into(),
        quoted(&program.display().to_string()),
        "run --study".into(),
        quoted(&root.display().to_string()),
        format!("--device {} --lease {}", quoted(&args.device), args.lease),
    ];
    Ok(words.join(" "))
}

fn slurm(
    folder: &StudyDir,
    args: &SubmitArgs,
    arrays: &[JobArray],
    resources: &Resources,
    worker: &str,
) -> Result<()> {
    let mut before: Vec<String> = Vec::new();
    let mut of_stage: Vec<String> = Vec::new();
    let mut stage = arrays[0].stage;
    for (number, array) in arrays.iter().enumerate() {
        if array.stage != stage {
            before = std::mem::take(&mut of_stage);
            stage = array.stage;
        }
        let script = batch(folder, args, array, resources, worker);
        let path = folder
            .root
            .join(format!("logs/{}-{number}.sbatch", stage.name()));
        write_atomic(&path, |out| Ok(out.write_all(script.as_bytes())?))?;
        // What fails of the first stage is known when it has ended; the rest can still be made.
        let after = match before.is_empty() {
            true => String::new(),
            false => format!("--dependency=afterany:{} ", before.join(":")),
        };
        if args.dry_run {
            print!("# sbatch {after}{}\n{script}\n", path.display());
            of_stage.push(format!("JOB-{number}"));
            continue;
        }
        let mut sbatch = Command::new("sbatch");
        sbatch
            .arg("--parsable")
            .args(after.split_whitespace())
            .arg(&path);
        let output = sbatch
            .output()
            .context("sbatch cannot be started; is Slurm on this machine?")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "sbatch refuses {}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let job = said.trim().split(';').next().unwrap_or_default().to_owned();
        println!(
            "{} runs of stage {}: job {job}",
            array.numbers.len(),
            stage.name()
        );
        of_stage.push(job);
    }
    Ok(())
}

/// The script of a job array.
fn batch(
    folder: &StudyDir,
    args: &SubmitArgs,
    array: &JobArray,
    resources: &Resources,
    worker: &str,
) -> String {
    let throttle = args
        .throttle
        .map_or(String::new(), |most| format!("%{most}"));
    let mut text = String::from("#!/bin/sh\n");
    let mut option = |option: &str| {
        let _ = writeln!(text, "#SBATCH {option}");
    };
    option(&format!(
        "--job-name=apet-{}-{}",
        plain(&folder.manifest.name),
        array.stage.name()
    ));
    option(&format!("--array={}{throttle}", ranges(&array.numbers)));
    option(&format!("--cpus-per-task={}", args.cpus));
    option(&format!("--mem={}M", resources.mebibytes));
    option(&format!("--time={}", resources.minutes));
    if resources.gpus > 0 {
        option(&format!("--gres=gpu:{}", resources.gpus));
    }
    // A minute before its time ends, and where its node is taken away, a run is told to end.
    option("--signal=B:TERM@60");
    option("--requeue");
    option("--open-mode=append");
    option(&format!(
        "--output={}/logs/{}-%a.log",
        folder.root.display(),
        array.first
    ));
    args.options.iter().for_each(|own| option(own));
    let _ = writeln!(text, "{worker} --index-offset {}", array.first);
    text
}

fn hq(
    folder: &StudyDir,
    args: &SubmitArgs,
    arrays: &[JobArray],
    resources: &Resources,
    worker: &str,
) -> Result<()> {
    let last = arrays.last().map(|array| array.stage);
    let mut script = String::from("#!/bin/sh\nset -e\n");
    for array in arrays {
        let mut words = vec![
            "hq submit".to_owned(),
            format!(
                "--name apet-{}-{}",
                plain(&folder.manifest.name),
                array.stage.name()
            ),
            format!("--array {}", ranges(&array.numbers)),
            format!("--cpus {}", args.cpus),
            format!("--resource mem={}", resources.mebibytes),
            format!("--time-limit {}min", resources.minutes),
            format!(
                "--stdout {} --stderr none",
                quoted(&format!(
                    "{}/logs/{}-%{{TASK_ID}}.log",
                    folder.root.display(),
                    array.first
                ))
            ),
        ];
        if resources.gpus > 0 {
            words.push(format!("--resource gpus/nvidia={}", resources.gpus));
        }
        // The second stage resources what the first one found.
        if Some(array.stage) != last {
            words.push("--wait".into());
        }
        words.extend(args.options.iter().map(|own| quoted(own)));
        words.push(format!(
            "-- sh -c {}",
            quoted(&format!("{worker} --index-offset {}", array.first))
        ));
        let _ = writeln!(script, "{}", words.join(" "));
    }
    let path = folder.root.join("logs/hq.sh");
    write_atomic(&path, |out| Ok(out.write_all(script.as_bytes())?))?;
    if args.dry_run {
        print!("# sh {}\n{script}", path.display());
        return Ok(());
    }
    let status = Command::new("sh").arg(&path).status()?;
    ensure!(
        status.success(),
        "{}: hq does not take it; is HyperQueue on this machine, and its server running?",
        path.display()
    );
    Ok(())
}

/// Numbers an array may have, as Slurm says.
fn slurm_most() -> usize {
    let output = Command::new("scontrol")
        .args(["show", "config"])
        .output()
        .ok();
    let said = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("MaxArraySize"));
    let most = line.and_then(|line| line.trim_start_matches([' ', '=']).trim().parse().ok());
    most.unwrap_or(SLURM_MOST)
}

/// `0-3,7`.
fn ranges(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_ranges_and_words_for_a_shell() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
