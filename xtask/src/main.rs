//! `cargo xtask VERB`: set-up, build and test, as README has it.

mod bench;
mod build;
mod fuzz;
mod lab;
mod peers;
mod setup;
mod step;
mod test;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use bench::Where;

const HELP: &str = "\
cargo xtask lab [--check] [--port N]   build everything, fetch the default model and task, serve the page
                                       (--check: ask the server once and end)
cargo xtask build                      build the page and the binary
cargo xtask site [DIR]                 write the page as a folder for any host of files (target/site)
cargo xtask test [--filter TEXT]       every check and test (--filter: only tests with TEXT in the name)
cargo xtask test --peers               remake the stored figures with transformers and peft (6 GB), and compare
cargo xtask bench [--native|--browser|--scale|--studies|--page] [--rounds N]
                                       time steps beside transformers and peft (6 GB), in Chromium beside
                                       jax-js and TensorFlow.js, in turn; 3 rounds; and against sizes;
                                       and status, collect and report of 100,000 records; and the page with 10,000
cargo xtask soak [--minutes N]         train and pause in a tab, 30 minutes on each device: no memory is lost
cargo xtask fuzz [TARGET|--seconds N]    an hour of damaged files for each reader, or N seconds; goes on where it ended
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
        ["site"] => build::site(&step::target()?.join("site"))?,
        ["site", folder] => build::site(Path::new(folder))?,
        ["bench", options @ ..] => {
            let (place, options) = match options {
                ["--native", rest @ ..] => (Where::Native, rest),
                ["--browser", rest @ ..] => (Where::Browser, rest),
                ["--scale", rest @ ..] => (Where::Scale, rest),
                ["--studies", rest @ ..] => (Where::Studies, rest),
                ["--page", rest @ ..] => (Where::Page, rest),
                all => (Where::Everywhere, all),
            };
            let rounds = match options {
                [] => 3,
                ["--rounds", rounds] => rounds
                    .parse()
                    .with_context(|| format!("--rounds: found {rounds}, expected a number"))?,
                _ => bail!("\"{}\" is not one of\n{HELP}", words.join(" ")),
            };
            bench::bench(rounds, place)?;
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
