//! `apet predict`: a run's answers to the rows of its task.

use std::path::PathBuf;

use anyhow::{Context, Result};
use apet_store::{Store, theta::ThetaFile, write_atomic};
use apet_tasks::{Answer, find_splits};
use apet_train::{Prediction, Trainer};
use serde_json::json;

use crate::runner::{device, execute, model, theta};

/// Options of `apet predict`.
#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// A run of the store, or its theta file
    #[arg(value_name = "RUN|FILE")]
    theta: String,
    /// Read the splits from DIR [default: the task in the store]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answer the rows of this split
    #[arg(long, value_enum, default_value_t)]
    split: Split,
    /// Run on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write one JSON line a row: its texts, the correct answers and the given one
    #[arg(short, long, value_name = "FILE.jsonl")]
    output: PathBuf,
}

/// A split with answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Split {
    /// On which the step is chosen.
    Dev,
    /// Scored once.
    #[default]
    Test,
}

/// Writes the answers, and prints their score.
///
/// # Errors
/// When the theta says of no run, or its model, its task or the device cannot be used.
pub(crate) fn predict(store: &Store, args: &PredictArgs) -> Result<()> {
    let file = ThetaFile::open(store, &args.theta)?;
    let spec = file.spec()?.with_context(|| {
        format!(
            "{}: says of no run, expected the theta of one, whose task is known",
            file.path().display()
        )
    })?;
    let data = execute::data(store, args.data.as_deref(), &spec)?;
    let splits = find_splits(&data)?.read()?;
    let task = apet_tasks::load(&spec.task, spec.seeds.batches, splits)?;
    let opened = device::open(&args.device)?;
    let plm = model::load(store, &spec.model, spec.dtype, &opened)?;
    let trainer = Trainer::of(&plm, &task, &spec, theta::onto(&file, &plm)?)?;
    let predicted = async {
        match args.split {
            Split::Dev => trainer.predict_dev().await,
            Split::Test => trainer.predict_test().await,
        }
    };
    let (scores, answers) = futures_lite::future::block_on(predicted)?;
    let rows = match args.split {
        Split::Dev => &task.dev,
        Split::Test => &task.test,
    };
    let name = |class: usize| task.labels.get(class);
    write_atomic(&args.output, |out| {
        for (row, answer) in rows.iter().zip(&answers) {
            let right = match &row.answer {
                Answer::Class(class) => json!([name(*class)]),
                Answer::Texts(texts) => json!(texts),
            };
            let answer = match answer {
                Prediction::Class(class) => json!(class.and_then(name)),
                Prediction::Text(text) => json!(text),
            };
            let line =
                json!({"text": row.text, "pair": row.pair, "right": right, "answer": answer});
            writeln!(out, "{line}")?;
        }
        Ok(())
    })?;
    println!(
        "{}: {} of {} rows {:.2} %",
        args.output.display(),
        scores.metric.title(),
        scores.rows,
        100.0 * scores.score
    );
    Ok(())
}
