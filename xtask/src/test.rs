//! `cargo xtask test`: runs every check and test, and prints one count at the end.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::build::{self, apet, native, npm};
use crate::fuzz;
use crate::generate;
use crate::lab;
use crate::setup;
use crate::step::{cargo, command, root, run, run_reading, step, target};

/// Seconds of fuzzing for each reader.
const FUZZ_SECONDS: u32 = 120;

/// Counts of tests. A check, such as formatting, counts as one test.
#[derive(Debug, Default, PartialEq, Eq)]
struct TestCount {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl TestCount {
    /// Runs a step that returns its own counts; an error counts as one failure.
    fn tests(&mut self, name: &str, work: impl FnOnce() -> Result<Self>) {
        match step(name, work) {
            Ok(found) => self.add(Some(found)),
            Err(error) => {
                eprintln!("error: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// Runs a step that passes or fails.
    fn check(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> bool {
        let failed = self.failed;
        self.tests(name, || work().map(|()| Self::one_passed()));
        failed == self.failed
    }

    fn one_passed() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    fn one_skipped(reason: &str) -> Self {
        println!("skipped: {reason}");
        Self {
            skipped: 1,
            ..Self::default()
        }
    }
}

/// Folders of `crates/*/src` whose modules a macro declares, so that `cargo fmt` doesn't find them.
const REGISTRIES: [&str; 4] = ["families", "methods", "deltas", "figures"];

/// Checks the format of every Rust file.
fn format() -> Result<()> {
    run(cargo(["fmt", "--all", "--check"])?)?;
    let mut rustfmt = command("rustfmt", ["--check", "--edition", "2024"])?;
    for member in fs::read_dir(root().join("crates"))? {
        let source = member?.path().join("src");
        let folders = REGISTRIES.map(|folder| source.join(folder));
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            for file in fs::read_dir(folder)? {
                rustfmt.arg(file?.path());
            }
        }
    }
    run(rustfmt)
}

/// Runs everything, or only the tests whose name contains `filter`.
///
/// # Errors
/// If the set-up is incomplete; then nothing runs.
pub(crate) fn test(filter: Option<&str>) -> Result<ExitCode> {
    step("set-up", || {
        setup::for_build()?;
        setup::for_test()
    })?;
    let mut count = TestCount::default();
    if filter.is_none() {
        count.check("format", format);
    }
    let page = count.check("page build", build::page);
    let binary = count.check("binary build", build::binary);
    let store = target()?.join("test-store").into_os_string();
    let built = || ensure_built(page && binary, "the page and the binary were not built");
    let fetched = count.check("models of the tests", || {
        built()?;
        lab::fetch(&["minilm-l6", "minilm-l3"], &store)
    });
    if filter.is_none() {
        lints(&mut count);
        count.check("lab --check", || {
            ensure_built(fetched, "the default model was not fetched")?;
            lab::ask(Some(&store))
        });
    }
    count.tests("native tests", || native_tests(filter, &store));
    if filter.is_none() {
        count.tests("a study on Slurm", || slurm(&store));
    }
    count.tests("browser tests", || {
        built()?;
        browser_tests(filter, &store)
    });
    if filter.is_none() {
        count.check("damaged files", || fuzz::fuzz(FUZZ_SECONDS, None));
        count.check("licences and sources of the crates", deny);
        count.tests("known vulnerabilities of the npm packages", audit);
    }
    println!(
        "{} passed, {} failed, {} skipped",
        count.passed, count.failed, count.skipped
    );
    let good = count.failed == 0 && count.passed > 0;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn ensure_built(good: bool, reason: &str) -> Result<()> {
    if good {
        Ok(())
    } else {
        Err(anyhow!("not run: {reason}"))
    }
}

fn lints(count: &mut TestCount) {
    // Includes the page's crates, for this machine, which saves another pass over all dependencies.
    count.check("lints of the crates", || {
        run(cargo([
            "clippy",
            "--release",
            "--workspace",
            "--exclude",
            "xtask",
            "--all-targets",
            "--",
            "-Dwarnings",
        ])?)
    });
    count.check("lints of xtask", || {
        run(cargo([
            "clippy",
            "--profile",
            "xtask",
            "-p",
            "xtask",
            "--",
            "-Dwarnings",
        ])?)
    });
    count.check("a build with CUDA", || {
        let mut check = native("check")?;
        check.args(["--features", "apet-cli/cuda"]);
        // A check needs no LLVM, which CubeCL's build script would otherwise download.
        check.env("DOCS_RS", "1");
        run(check)
    });
    count.check("files generated from the schema", generate::check);
    count.check("types of the page and its tests", || {
        run(npm(["run", "check"])?)
    });
}

fn native_tests(filter: Option<&str>, store: &OsString) -> Result<TestCount> {
    let mut count = TestCount::default();
    // xtask is not among the native crates: its dependencies use a separate profile. It turns on the schema of a
    // spec, whose tests run here.
    for mut tests in [
        native("test")?,
        cargo([
            "test",
            "--profile",
            "xtask",
            "-p",
            "xtask",
            "-p",
            "apet-record",
        ])?,
    ] {
        tests.arg("--no-fail-fast").env("APET_HOME", store);
        tests.args(filter.into_iter().flat_map(|text| ["--", text]));
        let failed = count.failed;
        let good = run_reading(tests, |line| count.add(cargo_result(line)))?;
        if !good && count.failed == failed {
            eprintln!("error: cargo test failed outside a test: does everything compile?");
            count.failed += 1;
        }
    }
    Ok(count)
}

/// Uses fewer runs than the 200 of `cargo test --test slurm`, which take five minutes.
fn slurm(store: &OsString) -> Result<TestCount> {
    match setup::slurm() {
        Ok(true) => {}
        Ok(false) => {
            return Ok(TestCount::one_skipped(
                "Slurm is not installed, and installing it requires root",
            ));
        }
        // As if without a network.
        Err(error) => return Ok(TestCount::one_skipped(&format!("{error:#}"))),
    }
    let mut test = native("test")?;
    test.args(["--test", "slurm"]);
    test.env("APET_HOME", store).env("APET_SLURM_RUNS", "60");
    run(test)?;
    Ok(TestCount::one_passed())
}

fn browser_tests(filter: Option<&str>, store: &OsString) -> Result<TestCount> {
    let files = browser_files()?;
    let folder = target()?.join("browser-tests");
    let screenshots = folder.join("screenshots");
    fs::create_dir_all(&screenshots).with_context(|| screenshots.display().to_string())?;
    let summary = folder.join("summary.tap");
    let mut node = command("node", ["--test", "--test-concurrency=1"])?;
    node.args(["--test-reporter=spec", "--test-reporter-destination=stdout"]);
    node.arg("--test-reporter=tap");
    node.arg(format!("--test-reporter-destination={}", summary.display()));
    node.args(filter.map(|text| format!("--test-name-pattern={text}")));
    node.args(files);
    node.env("APET_BIN", apet()?)
        .env("APET_HOME", store)
        .env("SHOTS", &screenshots);
    node.envs(setup::chromium().map(|browser| ("CHROMIUM", browser)));
    let status = node.status().context("node --test")?;
    println!("screenshots: {}", screenshots.display());
    let text = fs::read_to_string(&summary).with_context(|| summary.display().to_string())?;
    let count = tap_result(&text).context("node --test exited without a summary")?;
    ensure!(
        status.success() || count.failed > 0,
        "node --test exited with {status}"
    );
    let ran = count.passed + count.failed + count.skipped;
    ensure!(filter.is_some() || ran > 0, "node --test ran no test");
    Ok(count)
}

/// Trains and pauses in a tab for `minutes` on each device, and checks that memory does not grow.
///
/// # Errors
/// Names what is missing, or the memory that grew.
pub(crate) fn soak(minutes: u32) -> Result<()> {
    build::everything()?;
    setup::for_test()?;
    let file = root().join("tests/browser/memory.test.js");
    let mut node = command("node", ["--test", "--test-reporter=spec"])?;
    node.arg(file).env("APET_SOAK_MINUTES", minutes.to_string());
    node.env("APET_BIN", apet()?)
        .env("APET_HOME", target()?.join("test-store"));
    node.envs(setup::chromium().map(|browser| ("CHROMIUM", browser)));
    step("memory of a tab", || run(node))
}

fn browser_files() -> Result<Vec<PathBuf>> {
    let folder = root().join("tests/browser");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(".test.js"))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("{}: found no *.test.js", folder.display());
    }
    Ok(files)
}

/// The checks of deny.toml, except advisories: their list is a separate repository,
/// which needs a network.
fn deny() -> Result<()> {
    let deny = setup::cargo_deny()?;
    run(command(deny, ["check", "bans", "licenses", "sources"])?)
}

/// Needs the registry's list; skipped with a message if it cannot be reached.
fn audit() -> Result<TestCount> {
    let mut audit = npm(["audit", "--audit-level=high", "--json"])?;
    let output = audit.output().context("npm audit")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains("\"auditReportVersion\"") {
        return Ok(TestCount::one_skipped(
            "the npm registry returned no audit report",
        ));
    }
    ensure!(
        output.status.success(),
        "npm audit found vulnerabilities of high severity: {text}"
    );
    Ok(TestCount::one_passed())
}

impl TestCount {
    fn add(&mut self, more: Option<Self>) {
        let more = more.unwrap_or_default();
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`
fn cargo_result(line: &str) -> Option<TestCount> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut count = TestCount::default();
    for part in counts.split("; ") {
        let (number, word) = part.split_once(' ')?;
        let place = match word {
            "passed" => &mut count.passed,
            "failed" => &mut count.failed,
            "ignored" => &mut count.skipped,
            _ => continue,
        };
        *place = number.parse().ok()?;
    }
    Some(count)
}

/// The last lines of a TAP report from Node.js: `# pass 3`, `# fail 0`, ...
fn tap_result(text: &str) -> Option<TestCount> {
    let number = |word: &str| -> Option<usize> {
        let start = format!("# {word} ");
        text.lines()
            .rev()
            .find_map(|line| line.strip_prefix(&start)?.trim().parse().ok())
    };
    Some(TestCount {
        passed: number("pass")?,
        failed: number("fail")? + number("cancelled")?,
        skipped: number("skipped")? + number("todo")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: usize, failed: usize, skipped: usize) -> TestCount {
        TestCount {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn results_of_cargo_are_read() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.10s";
        assert_eq!(cargo_result(line), Some(count(12, 1, 2)));
        assert_eq!(cargo_result("test a::b ... ok"), None);
    }

    #[test]
    fn results_of_node_are_read() {
        let text = "# tests 6\n# suites 0\n# pass 2\n# fail 1\n# cancelled 1\n# skipped 1\n# todo 1\n# duration_ms 3.5\n";
        assert_eq!(tap_result(text), Some(count(2, 2, 2)));
        assert_eq!(tap_result("TAP version 13\n"), None);
    }
}
