//! The binary `apet`: tune a pretrained language model with few parameters.
//!
//! This file only dispatches. A module depends only on modules of a line below its own:
//!
//! ```text
//! commands        one file a subcommand: options, output
//! serve, studies  the page's server; many runs in a study's folder
//! runner          one run: devices, models, options, the loop's host
//! ```

mod commands;
mod runner;
mod serve;
mod studies;

use std::process::ExitCode;

use anyhow::Result;
use apet_store::Store;
use clap::{Parser, Subcommand};

use crate::commands::{
    bench, check, collect, convert, demo, devices, export, fetch, forward, gc, generate, import,
    models, plan, predict, pretrain, report, retry, run, serve as serving, status, submit,
};
use crate::runner::memory;

#[global_allocator]
static ALLOCATOR: memory::Counted = memory::Counted;

/// Tune a pretrained language model with as few parameters as you like.
///
/// Models, tasks and runs are kept in $APET_HOME, by default apet-lab in the
/// platform's data directory.
#[derive(Debug, Parser)]
#[command(name = "apet", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch models and tasks into the store
    Fetch(fetch::FetchArgs),
    /// List the known models, or plan a run's memory
    Models(Box<models::ModelsArgs>),
    /// Tune a model on a task
    Run(Box<run::RunArgs>),
    /// Run the scaling experiment on the models that come with apet, and print a report
    Demo(demo::DemoArgs),
    /// Plan a study: a grid of runs, for any number of workers
    Plan(plan::PlanArgs),
    /// Submit a planned study's runs to a scheduler
    Submit(submit::SubmitArgs),
    /// Show the progress of a planned study
    Status(status::StatusArgs),
    /// Write a study's runs as one table
    Collect(collect::CollectArgs),
    /// Report a study's scores, and what they say about the paper's claims
    Report(report::ReportArgs),
    /// Retry a study's failed runs
    Retry(retry::RetryArgs),
    /// Remove leftover files of a study's workers
    Gc(gc::GcArgs),
    /// Write a model's hidden states for texts
    Forward(forward::ForwardArgs),
    /// Continue texts with a language model (BLOOM, Llama, T5)
    Generate(generate::GenerateArgs),
    /// Answer the rows of a run's task with its theta
    Predict(predict::PredictArgs),
    /// Export theta as a peft adapter, as a merged model, or as a file
    Export(export::ExportArgs),
    /// Import a peft adapter as a theta file, or an archive of runs
    Import(import::ImportArgs),
    /// Pre-train a family of small models on plain text
    Pretrain(pretrain::PretrainArgs),
    /// Convert a GGUF file or another checkpoint to a Hugging Face directory
    Convert(convert::ConvertArgs),
    /// Measure a step's time and memory on a device
    Bench(Box<bench::BenchArgs>),
    /// List the devices of this machine
    Devices,
    /// Compare every operation and gradient on a device with double precision
    Check(check::CheckArgs),
    /// Serve the page, with the models, tasks and run records of the store
    Serve(serving::ServeArgs),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    let store = Store::open()?;
    match command {
        Command::Fetch(args) => fetch::fetch(&store, &args),
        Command::Models(args) => models::models(&store, *args),
        Command::Run(args) => run::run(&store, &args),
        Command::Demo(args) => demo::demo(&store, &args),
        Command::Plan(args) => plan::plan(&store, &args),
        Command::Submit(args) => submit::submit(&store, &args),
        Command::Status(args) => status::status(&args),
        Command::Collect(args) => collect::collect(&args),
        Command::Report(args) => report::report(&args),
        Command::Retry(args) => retry::retry(&args),
        Command::Gc(args) => gc::gc(&args),
        Command::Forward(args) => forward::forward(&store, &args),
        Command::Generate(args) => generate::generate(&store, &args),
        Command::Predict(args) => predict::predict(&store, &args),
        Command::Export(args) => export::export(&store, &args),
        Command::Import(args) => import::import(&store, &args),
        Command::Pretrain(args) => pretrain::pretrain(&args),
        Command::Convert(args) => convert::convert(&args),
        Command::Bench(args) => bench::bench(&store, &args),
        Command::Devices => {
            devices::devices();
            Ok(())
        }
        Command::Check(args) => check::check(&args),
        Command::Serve(args) => serving::serve(store, args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every old spelling of a flag, next to the new one.
    #[test]
    fn old_spellings_of_flags_are_hidden_aliases() {
        for (old, new) in [
            ("plan s.toml --out d", "plan s.toml --output d"),
            ("collect d --out t.csv", "collect d --output t.csv"),
            ("report d --out r.md", "report d --output r.md"),
            ("demo --out r.md", "demo --output r.md"),
            ("pretrain l.toml --out d", "pretrain l.toml --output d"),
            ("run --plan d", "run --study d"),
            ("run --plan d --first 3", "run --study d --index-offset 3"),
            ("run --start f", "run --init-from f"),
            ("run --again", "run --overwrite"),
            ("run --words numbers", "run --verbalizer numbers"),
        ] {
            let parsed = |line: &str| {
                let words = std::iter::once("apet").chain(line.split(' '));
                format!("{:?}", Cli::try_parse_from(words).unwrap().command)
            };
            assert_eq!(parsed(old), parsed(new), "{old}");
            let (name, flag) = (old.split(' ').next().unwrap(), |line: &str| {
                let mut flags = line.split(' ').filter(|word| word.starts_with("--"));
                flags.next_back().unwrap().to_owned()
            });
            let mut command = Cli::command();
            let help = command
                .find_subcommand_mut(name)
                .unwrap()
                .render_long_help();
            let help = help.to_string();
            assert!(
                help.contains(&format!("{} ", flag(new)))
                    || help.contains(&format!("{}\n", flag(new))),
                "{new}"
            );
            assert!(!help.contains(&format!("{} ", flag(old))), "{old}");
        }
    }

    #[test]
    fn every_output_is_called_output() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                assert_ne!(argument.get_long(), Some("out"), "{}", command.get_name());
                if argument.get_long() == Some("output") {
                    assert_eq!(argument.get_short(), Some('o'), "{}", command.get_name());
                }
            }
        }
    }
}
