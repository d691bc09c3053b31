//! `apet export`: theta as a peft adapter, merged into the model, or as a file.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use apet_plm::Plm;
use apet_record::{Dtype, Pooling};
use apet_store::{Store, catalogue::published, convert, theta::ThetaFile, weights, write_atomic};
use apet_theta::{Merged, Theta};
use clap::ValueEnum;
use futures_lite::future::block_on;

use crate::runner::{device, model, theta};

/// Options of `apet export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// A run of the store, or a theta file
    #[arg(value_name = "RUN|FILE")]
    theta: String,
    /// Export as a peft adapter, as the whole model with theta merged in, or as theta with a card
    #[arg(long, value_enum)]
    format: Format,
    /// Write to DIR, which must be absent or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Use this model [default: the one that the file names]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
}

/// Forms that theta can leave in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// adapter_config.json and adapter_model.safetensors of Hugging Face peft
    Peft,
    /// A Hugging Face directory of the tuned model
    Merged,
    /// The theta file itself
    Apet,
}

/// Writes the directory, with a README.md that says what it is.
///
/// # Errors
/// Names what the format cannot hold, and what to do instead; nothing is written then.
pub(crate) fn export(store: &Store, args: &ExportArgs) -> Result<()> {
    let folder = &args.output;
    let shown = folder.display();
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        is_empty || !folder.exists(),
        "{shown}: is there already; name another directory, or remove it"
    );
    let file = ThetaFile::open(store, &args.theta)?;
    let name = file.model(args.model.as_deref())?;
    let opened = device::open("cpu")?;
    let plm = model::load(store, &name, Dtype::F32, &opened)?;
    let theta = theta::onto(&file, &plm)?;
    let values = theta::values(&theta)?;
    let (objective, pooling) = theta::purpose(&file, &plm)?;
    // What others know the model by.
    let base = match published(&name)?.filter(|_| store.models().contains(&name)) {
        Some(published) => published.hub,
        None => plm.info().name.clone(),
    };
    let card = Card {
        file: &file,
        base: &base,
        plm: &plm,
        theta: &theta,
        pooling,
    };
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    let usage = match args.format {
        Format::Apet => {
            files.push(("theta.safetensors", file.bytes().to_vec()));
            card.of_apet()
        }
        Format::Peft => {
            let adapter = block_on(theta.to_peft(&plm, &base, &values, (objective, pooling)))?;
            let mut usage = card.of_peft(adapter.task_type);
            if !adapter.note.is_empty() {
                let _ = write!(usage, "\n{}\n", adapter.note);
            }
            files.push(("adapter_config.json", adapter.config.into_bytes()));
            files.push(("adapter_model.safetensors", adapter.weights));
            if let Some(head) = adapter.head {
                usage += &card.of_head();
                files.push(("head.safetensors", head.to_vec()));
            }
            usage
        }
        Format::Merged => {
            let source = weights::find(store, &name)?;
            let base = weights::weights(&source, &plm.info().name)?;
            let tuned = Merged::new(base, &theta, &plm, &values, (objective, pooling));
            let tuned = block_on(tuned)?;
            let read = |file: &str| fs::read(source.join(file)).with_context(|| file.to_owned());
            let config = tuned.config(&read("config.json")?, card.labels())?;
            let mut usage = card.of_merged(tuned.classifies());
            if let Some(head) = tuned.head() {
                usage += &card.of_head();
                files.push(("head.safetensors", head.to_vec()));
            }
            convert::write(&tuned, [config, read("tokenizer.json")?], folder)?;
            for also in [
                "tokenizer_config.json",
                "special_tokens_map.json",
                "generation_config.json",
                "vocab.txt",
            ] {
                if let Ok(bytes) = fs::read(source.join(also)) {
                    files.push((also, bytes));
                }
            }
            usage
        }
    };
    files.push(("README.md", card.text(args.format, &usage)?.into_bytes()));
    for (name, bytes) in files {
        write_atomic(&folder.join(name), |out| Ok(out.write_all(&bytes)?))?;
    }
    println!("{}: exported to {shown}", file.path().display());
    Ok(())
}

/// The README.md of an export.
struct Card<'a> {
    file: &'a ThetaFile,
    base: &'a str,
    plm: &'a Plm,
    theta: &'a Theta,
    pooling: Pooling,
}

impl Card<'_> {
    fn labels(&self) -> Option<&[String]> {
        let record = self.file.record.as_ref()?;
        Some(&record.header.task.labels)
    }

    fn of_apet(&self) -> String {
        "Export it further with `apet export theta.safetensors --format peft|merged`.\n".into()
    }

    fn of_peft(&self, task: &str) -> String {
        let class = match task {
            "SEQ_CLS" => "AutoModelForSequenceClassification",
            "CAUSAL_LM" => "AutoModelForCausalLM",
            "SEQ_2_SEQ_LM" => "AutoModelForSeq2SeqLM",
            _ => self.plm.architecture().config.info().base_class,
        };
        let classes = match (task, self.labels()) {
            ("SEQ_CLS", Some(labels)) => format!(", num_labels={}", labels.len()),
            _ => String::new(),
        };
        format!(
            "```python\nfrom peft import PeftModel\nfrom transformers import {class}\n\nbase = {class}.from_pretrained(\"{}\"{classes})\nmodel = PeftModel.from_pretrained(base, \".\")\n```\n",
            self.base
        )
    }

    fn of_merged(&self, classifies: bool) -> String {
        let class = match classifies {
            true => "AutoModelForSequenceClassification",
            false => "AutoModel",
        };
        format!(
            "```python\nfrom transformers import {class}\n\nmodel = {class}.from_pretrained(\".\")\n```\n"
        )
    }

    fn of_head(&self) -> String {
        let pooled = match self.pooling {
            Pooling::Mean => "(states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
            _ => "states[:, 0]",
        };
        format!(
            "\nNo class of transformers has this head, so it stands in `head.safetensors`: `scores = pooled @ weight.T + bias`\nwith `pooled = {pooled}`, where `states` are the last hidden ones and `mask` is 1 on tokens (virtual ones too).\n"
        )
    }

    fn text(&self, format: Format, usage: &str) -> Result<String> {
        let info = self.theta.info();
        let name = self.base;
        let mut text = match format {
            Format::Peft => format!(
                "---\nbase_model: {name}\nlibrary_name: peft\n---\n\n# {} on {name}\n\n",
                info.method
            ),
            _ => format!(
                "---\nbase_model: {name}\n---\n\n# {} on {name}\n\n",
                info.method
            ),
        };
        let requested = match info.requested_parameters == info.trainable_parameters {
            true => String::new(),
            false => format!(" of {} asked for", info.requested_parameters),
        };
        let _ = write!(
            text,
            "{} parameters{requested} in {} weights are tuned, the head's {} not counted; the model has {}.\n\n{usage}\n",
            info.trainable_parameters,
            info.weights,
            info.head,
            self.plm.info().parameters
        );
        if let Some(record) = &self.file.record {
            let task = &record.header.task;
            let percent = |score: Option<f64>| match score {
                Some(score) => format!("{:.2} %", 100.0 * score),
                None => "not measured".into(),
            };
            let summary = record.summary();
            let _ = write!(
                text,
                "## Measured\n\n| task | split | rows | {11} |\n|---|---|---|---|\n| {0} | dev | {1} | {2} |\n| {0} | test | {3} | {4} |\n\nA uniform guess has {5}, always answering the most frequent label {6}. Labels: {7}. The step was chosen on dev; test was scored once.\nRun {8} on {9}, APET Lab {10}.\n\n",
                task.name,
                task.dev_rows,
                percent(summary.and_then(|s| s.dev)),
                task.test_rows,
                percent(summary.and_then(|s| s.test)),
                percent(Some(task.uniform_guess)),
                percent(Some(task.majority_guess)),
                task.labels.join(", "),
                record.header.run,
                record.header.device.name,
                record.header.software.apet,
                task.metric.name(),
            );
        }
        if let Some(spec) = self.file.spec()? {
            let spec = serde_json::to_string_pretty(&spec)?;
            let _ = write!(text, "## Spec\n\n```json\n{spec}\n```\n");
        }
        Ok(text)
    }
}
