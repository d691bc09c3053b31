//! `cargo xtask VERB`: set-up, build, test and benchmarks.

mod bench;
mod build;
mod fuzz;
mod generate;
mod lab;
#[cfg(test)]
mod layout;
mod peers;
mod setup;
mod step;
mod test;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use bench::Benchmark;

const HELP: &str = "\
cargo xtask lab [--check] [--port N]   build everything, fetch the default model and task, serve the page
                                       (--check: request the page once, then exit)
cargo xtask build                      build the page and the binary
cargo xtask generate                   write the files that are generated from the types of a spec
cargo xtask site [DIR]                 write the page as a folder for any static host (default: target/site)
cargo xtask test [--filter TEXT]       run every check and test (--filter: only tests with TEXT in the name)
cargo xtask test --peers               recompute the stored figures with transformers and peft (6 GB), and compare
cargo xtask bench [--native|--browser|--scale|--studies|--page] [--rounds N]
                                       measure all of the following, or one of them, over N rounds (default: 3):
                                       --native: steps, compared with transformers and peft (6 GB)
                                       --browser: steps in Chromium, compared with jax-js and TensorFlow.js
                                       --scale: steps by width, blocks, length and rows
                                       --studies: apet status, collect and report with 100,000 records
                                       --page: the page with 10,000 records
cargo xtask soak [--minutes N]         train and pause in a tab, N minutes on each device (default: 30), and check
                                       that memory does not grow
cargo xtask fuzz [TARGET|--seconds N]  feed damaged files to each reader, or to TARGET, for N seconds each
                                       (default: 3600); resumes from the inputs of the last run
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["lab", "--check"] => lab::check()?,
        ["lab"] => lab::lab(None)?,
        ["lab", "--port", port] => lab::lab(Some(port))?,
        ["build"] => build::everything()?,
        ["generate"] => build::generated()?,
        ["site"] => build::site(&step::target()?.join("site"))?,
        ["site", folder] => build::site(Path::new(folder))?,
        ["bench", options @ ..] => {
            let (benchmark, options) = match options {
                ["--native", rest @ ..] => (Benchmark::Native, rest),
                ["--browser", rest @ ..] => (Benchmark::Browser, rest),
                ["--scale", rest @ ..] => (Benchmark::Scale, rest),
                ["--studies", rest @ ..] => (Benchmark::Studies, rest),
                ["--page", rest @ ..] => (Benchmark::Page, rest),
                all => (Benchmark::Everywhere, all),
            };
            let rounds = match options {
                [] => 3,
                ["--rounds", rounds] => rounds
                    .parse()
                    .with_context(|| format!("--rounds: found {rounds}, expected a number"))?,
                _ => bail!("\"{}\" is not one of\n{HELP}", words.join(" ")),
            };
            bench::bench(rounds, benchmark)?;
        }
        ["fuzz"] => fuzz::fuzz(3600, None)?,
        ["fuzz", name] => fuzz::fuzz(3600, Some(name))?,
        ["fuzz", "--seconds", seconds] => {
            let seconds = seconds.parse();
            let found = || format!("--seconds: found {}, expected a number", words[2]);
            fuzz::fuzz(seconds.with_context(found)?, None)?;
        }
        ["soak"] => test::soak(30)?,
        ["soak", "--minutes", minutes] => {
            let found = || format!("--minutes: found {minutes}, expected a number");
            test::soak(minutes.parse().with_context(found)?)?;
        }
        ["test"] => return test::test(None),
        ["test", "--peers"] => peers::peers()?,
        ["test", "--filter", text] => return test::test(Some(text)),
        [] | ["help" | "--help" | "-h"] => print!("{HELP}"),
        _ => bail!("\"{}\" is not one of\n{HELP}", words.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}
