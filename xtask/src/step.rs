//! Named, timed steps, and the commands they run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// Runs `work` and prints its duration.
///
/// # Errors
/// The error of `work`, with the step's name.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("== {name}");
    let start = Instant::now();
    let result = work();
    let end = if result.is_ok() { "done" } else { "failed" };
    println!("== {name}: {end} in {:.1} s", start.elapsed().as_secs_f64());
    result.with_context(|| name.to_owned())
}

/// The repository for which cargo runs this program. Another clone that shares the
/// target directory may have built the program.
pub(crate) fn root() -> PathBuf {
    let built = || env!("CARGO_MANIFEST_DIR").into();
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built, PathBuf::from);
    here.parent().unwrap_or(&here).to_owned()
}

/// Cargo's target directory, whose folder `xtask` contains this program.
///
/// # Errors
/// If the program's path is unknown.
pub(crate) fn target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let target = program.parent().and_then(Path::parent);
    Ok(target
        .context("this program is not in a target directory; run it with cargo xtask")?
        .to_owned())
}

/// A command that runs in the repository, with this program's target directory.
///
/// # Errors
/// See [`target`].
pub(crate) fn command<I: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = I>,
) -> Result<Command> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    command.env("CARGO_TARGET_DIR", target()?);
    // Cargo's variables for this program's package. Build scripts of dependencies read
    // some of them, so a manual build and one from here would invalidate each other.
    let ours = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// The cargo that runs this program.
///
/// # Errors
/// See [`target`].
pub(crate) fn cargo<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Result<Command> {
    command(
        std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        arguments,
    )
}

/// Runs a command to success.
///
/// # Errors
/// If it cannot be started, or fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let name = shown(&command);
    let status = command.status().with_context(|| name.clone())?;
    ensure!(status.success(), "{name} exited with {status}");
    Ok(())
}

/// Runs a command, prints its standard output, and passes each line to `line`.
/// Returns whether it succeeded.
///
/// # Errors
/// If it cannot be started or read.
pub(crate) fn run_reading(mut command: Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let name = shown(&command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| name.clone())?;
    let Some(output) = child.stdout.take() else {
        bail!("{name}: no output")
    };
    for text in BufReader::new(output).split(b'\n') {
        let text = text.with_context(|| name.clone())?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        line(&text);
    }
    Ok(child.wait().with_context(|| name.clone())?.success())
}

/// A command's standard output, if it succeeds.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = command(program, arguments)
        .ok()?
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
