//! The binary `apet`: tune a pretrained language model with few parameters.

mod bench;
mod convert;
mod demo;
mod device;
mod export;
mod fetch;
mod forward;
mod generate;
mod import;
mod memory;
mod model;
mod models;
mod predict;
mod pretrain;
mod run;
mod serve;
mod signal;
mod study;
mod theta;

use std::process::ExitCode;

use anyhow::Result;
use apet_store::Store;
use clap::{Parser, Subcommand};

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
    /// Run the scaling experiment on the models that come with apet, and say what it found
    Demo(demo::DemoArgs),
    /// Plan a study: a grid of runs, for any number of workers
    Plan(study::PlanArgs),
    /// Have a scheduler make a planned study's runs
    Submit(study::SubmitArgs),
    /// Say how far a planned study is
    Status(study::StatusArgs),
    /// Write a study's runs as one table
    Collect(study::CollectArgs),
    /// Write what a study found: its scores, and what they say about the paper's claims
    Report(study::ReportArgs),
    /// Let a study's failed runs be made again
    Retry(study::RetryArgs),
    /// Remove what a study's workers left behind
    Gc(study::GcArgs),
    /// Write a model's hidden states for texts
    Forward(forward::ForwardArgs),
    /// Go on with texts (BLOOM, Llama, T5)
    Generate(generate::GenerateArgs),
    /// Write what a run's theta answers to the rows of its task
    Predict(predict::PredictArgs),
    /// Write theta as an adapter of peft, as a tuned model, or as it is
    Export(export::ExportArgs),
    /// Make a theta file of an adapter of peft
    Import(import::ImportArgs),
    /// Pre-train a family of small models on plain text
    Pretrain(pretrain::PretrainArgs),
    /// Make a Hugging Face directory of a GGUF file or another checkpoint
    Convert(convert::ConvertArgs),
    /// Measure a step's time and memory on a device
    Bench(Box<bench::BenchArgs>),
    /// List the devices of this machine
    Devices,
    /// Compare every operation and gradient on a device with double precision
    Check {
        /// cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
        #[arg(default_value = "cpu")]
        device: String,
    },
    /// Serve the page, with the models, tasks and run records of the store
    Serve(serve::ServeArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let store = Store::open()?;
    match command {
        Command::Fetch(args) => fetch::fetch(&store, &args),
        Command::Models(args) => models::models(&store, *args),
        Command::Run(args) if args.print_spec => {
            let spec = args.spec(args.start(&store)?.as_ref())?;
            println!("{}", serde_json::to_string_pretty(&spec)?);
            Ok(())
        }
        Command::Run(args) => run::run(&store, &args),
        Command::Demo(args) => demo::demo(&store, &args),
        Command::Plan(args) => study::plan(&store, &args),
        Command::Submit(args) => study::submit(&store, &args),
        Command::Status(args) => study::status(&args),
        Command::Collect(args) => study::collect(&args),
        Command::Report(args) => study::report(&args),
        Command::Retry(args) => study::retry(&args),
        Command::Gc(args) => study::gc(&args),
        Command::Forward(args) => forward::forward(&store, &args),
        Command::Generate(args) => generate::generate(&store, &args),
        Command::Predict(args) => predict::predict(&store, &args),
        Command::Export(args) => export::export(&store, &args),
        Command::Import(args) => import::import(&store, &args),
        Command::Pretrain(args) => pretrain::pretrain(&args),
        Command::Convert(args) => convert::convert(&args),
        Command::Bench(args) => bench::bench(&store, &args),
        Command::Devices => {
            device::list();
            Ok(())
        }
        Command::Check { device } => device::check(&device),
        Command::Serve(args) => serve::serve(store, args),
    }
}
