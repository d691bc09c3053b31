//! `apet models`: the models that are known by name, and what a run with one would take.

use anyhow::{Result, ensure};
use apet_plm::{Config, ModelArchitecture};
use apet_record::{Dtype, Method, RunSpec};
use apet_store::{Store, builtin, catalogue::catalogue};
use apet_train::Plan;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::runner::architecture::{architecture, memory};
use crate::runner::settings::Settings;

/// Options of `apet models`.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelsArgs {
    /// Plan a run with this model: a name in the table or the store, or a Hugging Face
    /// directory (its config.json is enough)
    #[arg(long, value_name = "NAME|DIR")]
    plan: Option<String>,
    /// Number of labels of the run's task
    #[arg(long, value_name = "N", default_value_t = 2, requires = "plan")]
    labels: usize,
    #[command(flatten, next_help_heading = "With --plan, as in apet run")]
    settings: Settings,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the table, or a plan.
///
/// # Errors
/// When the model of the plan is not known, or the spec does not fit it.
pub(crate) fn models(store: &Store, args: ModelsArgs) -> Result<()> {
    match &args.plan {
        Some(name) => plan(store, name, &args),
        None => {
            let mut spec = RunSpec::new("any", "any");
            args.settings.change(&mut spec)?;
            ensure!(
                spec == RunSpec::new("any", "any"),
                "the options of a run belong to --plan NAME, expected --json or none"
            );
            table(store, args.json)
        }
    }
}

/// The largest numbers a model's weights fit in, with APET's defaults on batches of 16 x 128.
fn fits(architecture: &ModelArchitecture, available: u64) -> &'static str {
    // The count hardly matters, and drawing places in the largest models would.
    let mut spec = RunSpec::new(&architecture.name, "any");
    spec.method = Method::Head(Default::default());
    let peak = |dtype| {
        spec.dtype = dtype;
        Plan::new(architecture, &spec, 2).map_or(u64::MAX, |plan| plan.peak())
    };
    let fitting = [Dtype::F32, Dtype::Bf16].map(peak);
    match fitting.map(|peak| peak <= available) {
        [true, _] => "f32",
        [_, true] => "bf16",
        _ => "no",
    }
}

fn table(store: &Store, as_json: bool) -> Result<()> {
    let (total, available) = memory();
    let there = store.models();
    let row = |architecture: &ModelArchitecture, licence: &str, hub: &str, in_store: bool| {
        let (all, without) = architecture.parameters();
        json!({
            "name": architecture.name, "family": architecture.config.family(),
            "blocks": architecture.config.layers(), "hidden": architecture.config.hidden(),
            "parameters": all, "parameters_without_embeddings": without,
            "bytes": architecture.bytes(Dtype::F32), "licence": licence, "hub": hub,
            "fits": fits(architecture, available), "in_store": in_store,
        })
    };
    let mut rows = Vec::new();
    for (name, config) in builtin::models() {
        let architecture = ModelArchitecture::new(&name, Config::read("config.json", &config)?);
        rows.push(row(
            &architecture,
            "MIT or Apache-2.0",
            "comes with apet",
            true,
        ));
    }
    rows.sort_by_key(|row| row["parameters"].as_u64());
    for model in catalogue()? {
        let in_store = there.contains(&model.name);
        let architecture = ModelArchitecture::new(&model.name, model.config()?);
        rows.push(row(&architecture, &model.licence, &model.hub, in_store));
    }
    if as_json {
        let memory = json!({"total": total, "available": available});
        println!("{}", json!({"memory": memory, "models": rows}));
        return Ok(());
    }
    println!(
        "{:<15} {:<6} {:>10} {:>16} {:>16} {:>11} {:<5} {:<5} {:<20} hub",
        "name",
        "family",
        "scale",
        "parameters",
        "no embeddings",
        "bytes f32",
        "fits",
        "here",
        "licence"
    );
    for row in &rows {
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let number = |field: &str| row[field].as_u64().unwrap_or_default();
        println!(
            "{:<15} {:<6} {:>10} {:>16} {:>16} {:>11} {:<5} {:<5} {:<20} {}",
            text("name"),
            text("family"),
            format!("{} x {}", number("blocks"), number("hidden")),
            HumanCount(number("parameters")).to_string(),
            HumanCount(number("parameters_without_embeddings")).to_string(),
            HumanBytes(number("bytes")).to_string(),
            text("fits"),
            if row["in_store"] == true { "yes" } else { "-" },
            text("licence"),
            text("hub"),
        );
    }
    println!(
        "fits: numbers in which it can be tuned on this machine's cpu, batches of 16 x 128 tokens, \
         in the {} of memory that are free of {}. apet models --plan NAME says more.",
        HumanBytes(available),
        HumanBytes(total)
    );
    Ok(())
}

fn plan(store: &Store, name: &str, args: &ModelsArgs) -> Result<()> {
    let architecture = architecture(store, name)?;
    let mut spec = RunSpec::new(name, "any");
    args.settings.change(&mut spec)?;
    let plan = Plan::new(&architecture, &spec, args.labels)?;
    let (total, available) = memory();
    if args.json {
        let value = json!({
            "model": name, "spec": spec, "parameters": plan.parameters.0,
            "parameters_without_embeddings": plan.parameters.1, "theta": plan.theta,
            "bytes": {
                "weights": plan.weights, "theta": plan.theta_bytes, "optimizer": plan.optimizer,
                "step": plan.step, "peak": plan.peak(),
            },
            "memory": {"total": total, "available": available},
        });
        println!("{value}");
        return Ok(());
    }
    let (config, theta) = (&architecture.config, &plan.theta);
    println!(
        "{name}: {} parameters, {} without embeddings ({}, {} blocks of width {})",
        HumanCount(plan.parameters.0),
        HumanCount(plan.parameters.1),
        config.family(),
        config.layers(),
        config.hidden()
    );
    println!(
        "{}: {} tuned in {} tensors, and {} of the head",
        theta.method,
        HumanCount(theta.trainable_parameters),
        theta.weights,
        HumanCount(theta.head)
    );
    let batch = format!(
        "{} x {} tokens",
        spec.train.batch_size, spec.task.max_length
    );
    for (what, bytes) in [
        (format!("weights, {}", spec.dtype.name()), plan.weights),
        ("theta and its places".into(), plan.theta_bytes),
        ("optimizer state".into(), plan.optimizer),
        (format!("activations and gradients, {batch}"), plan.step),
        ("peak".into(), plan.peak()),
    ] {
        println!("{what:<45} {:>12}", HumanBytes(bytes).to_string());
    }
    let verdict = match plan.peak() {
        peak if peak <= available => "it fits",
        peak if peak <= total => "it fits when other programs leave room",
        _ => "it does not fit; fewer rows, shorter texts and --dtype bf16 take less",
    };
    println!(
        "this machine's cpu has {} of memory free of {}: {verdict}",
        HumanBytes(available),
        HumanBytes(total)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use apet_store::catalogue::published;

    use super::*;

    /// Counts of the models' cards, and of transformers' `num_parameters()`.
    #[test]
    fn models_have_the_parameters_they_are_known_for() {
        for (name, parameters) in [
            ("bert-tiny", 4_385_920),
            ("bert-mini", 11_170_560),
            ("bert-small", 28_763_648),
            ("bert-medium", 41_373_184),
            ("bert-base", 109_482_240),
            ("bert-large", 335_141_888),
            ("t5-small", 60_506_624),
            ("t5-base", 222_903_552),
            ("t5-v1_1-small", 76_961_152),
            ("t5-v1_1-base", 247_577_856),
            ("bloom-560m", 559_214_592),
            ("bloom-1b1", 1_065_314_304),
            ("bloom-7b1", 7_069_016_064),
            ("bloom-176b", 176_247_271_424),
            ("smollm2-135m", 134_515_008),
            ("qwen2.5-0.5b", 494_032_768),
            ("pythia-14m", 14_067_712),
            ("pythia-31m", 30_494_720),
            ("pythia-70m", 70_426_624),
            ("pythia-160m", 162_322_944),
            ("pythia-410m", 405_334_016),
            ("pythia-1b", 1_011_781_632),
            ("pythia-1.4b", 1_414_647_808),
            ("pythia-2.8b", 2_775_208_960),
            ("pythia-6.9b", 6_857_302_016),
            ("pythia-12b", 11_846_072_320),
        ] {
            let architecture =
                ModelArchitecture::new(name, published(name).unwrap().unwrap().config().unwrap());
            assert_eq!(architecture.parameters().0, parameters, "{name}");
        }
    }
}
