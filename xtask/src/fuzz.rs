//! `cargo xtask fuzz`: feeds damaged files to every reader (tests/fuzz).

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::setup;
use crate::step::{command, output, root, run, target};

/// The fuzz targets, one for each reader.
const TARGETS: [&str; 5] = ["safetensors", "index", "gguf", "config", "tokenizer"];

/// Runs all targets, or the named one, for `seconds` each, as many at a time
/// as there are cores. New inputs are kept in the target directory, and the
/// next run starts from them.
///
/// # Errors
/// If a target finds an input that panics, or takes too much memory or time.
pub(crate) fn fuzz(seconds: u32, only: Option<&str>) -> Result<()> {
    let targets: Vec<&str> = match only {
        None => TARGETS.into(),
        Some(name) if TARGETS.contains(&name) => vec![name],
        Some(name) => bail!("target {name:?} is not one of {}", TARGETS.join(", ")),
    };
    let folder = target()?.join("fuzz");
    let crate_folder = root().join("tests/fuzz");
    let build = |words: &[&str]| -> Result<_> {
        let mut build = command(setup::cargo_fuzz()?, ["fuzz"])?;
        build.args(words).arg("--fuzz-dir").arg(&crate_folder);
        // The readers are safe Rust, so coverage counters are enough, and the stable compiler has them.
        build.args(["--sanitizer", "none"]);
        build
            .env("CARGO_TARGET_DIR", &folder)
            .env("RUSTC_BOOTSTRAP", "1");
        Ok(build)
    };
    run(build(&["build"])?)?;
    let host =
        output("rustc", &["--print", "host-tuple"]).context("rustc --print host-tuple failed")?;
    let programs = folder.join(host).join("release");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for some in targets.chunks(cores) {
        let running = some.iter().map(|name| {
            let kept = |kind: &str| -> Result<PathBuf> {
                let path = folder.join(kind).join(name);
                fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
                Ok(path)
            };
            let (corpus, findings) = (kept("corpus")?, kept("findings")?);
            let log = folder.join(format!("{name}.log"));
            let file = fs::File::create(&log).with_context(|| log.display().to_string())?;
            let mut fuzzer = command(programs.join(name), [format!("-max_total_time={seconds}")])?;
            fuzzer.args(["-timeout=25", "-print_final_stats=1"]);
            fuzzer.arg(format!("-artifact_prefix={}/", findings.display()));
            fuzzer
                .arg(corpus)
                .arg(crate_folder.join("seeds").join(name));
            fuzzer.stdout(Stdio::null()).stderr(file);
            let child = fuzzer.spawn().with_context(|| name.to_string())?;
            Ok((*name, child, log))
        });
        let running: Vec<_> = running.collect::<Result<_>>()?;
        let ended = running.into_iter().map(|(name, mut child, log)| {
            let status = child.wait().with_context(|| name.to_owned())?;
            Ok((name, status, log))
        });
        // All targets have ended before a failure is reported.
        for (name, status, log) in ended.collect::<Result<Vec<_>>>()? {
            let text = fs::read(&log).with_context(|| log.display().to_string())?;
            let text = String::from_utf8_lossy(&text);
            let runs = text
                .lines()
                .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
                .map_or("", str::trim);
            println!("{name}: {runs} inputs in {seconds} s");
            ensure!(
                status.success(),
                "{name}: found a failing input, in {}; the log is {}",
                folder.join("findings").join(name).display(),
                log.display()
            );
            ensure!(
                !runs.is_empty(),
                "{name}: ran no inputs, see {}",
                log.display()
            );
        }
    }
    Ok(())
}
