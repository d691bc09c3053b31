//! Steps in Chromium, compared with jax-js and TensorFlow.js in turn: the same model, rows, rates and initial values
//! (tests/peers/browser).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Side, measured, median};
use crate::build::npm;
use crate::setup;
use crate::step::{command, root, run, step, target};

/// A method: its name, ours, and the others'. They have nothing like APET, so it is compared with their
/// LoRA.
const METHODS: [(&str, &str, &str); 3] = [
    ("everything but tables", "full", "full"),
    ("LoRA", "lora", "lora"),
    ("APET 10,000 / LoRA", "apet", "lora"),
];

/// The libraries to measure on a device. jax-js runs with and without its jit if either may be faster.
const WEBGPU: [Library; 3] = [
    Library::new("jax-js, jit", "jax-js", true),
    Library::new("jax-js", "jax-js", false),
    Library::new("TensorFlow.js", "tfjs", true),
];
const WASM: [Library; 2] = [
    Library::new("jax-js, jit", "jax-js", true),
    Library::new("TensorFlow.js", "tfjs", true),
];

struct Library {
    name: &'static str,
    side: &'static str,
    jit: bool,
}

impl Library {
    const fn new(name: &'static str, side: &'static str, jit: bool) -> Self {
        Self { name, side, jit }
    }
}

/// Relative tolerance between the losses of the same step.
const TOLERANCE: f64 = 1e-3;

/// Measures every device and method, prints a table, and returns all figures.
///
/// # Errors
/// If a requirement is missing, a loss does not fall, or losses differ.
pub(super) fn browser(rounds: usize) -> Result<Vec<Value>> {
    let packages = step("jax-js and TensorFlow.js", packages)?;
    let initial = target()?.join("peers/initial.json");
    let ask = |side: &str, device: &str, method: &str, jit: bool, [steps, warmup]: [usize; 2]| {
        let settings = json!({
            "side": side, "device": device, "method": method, "jit": jit, "steps": steps, "warmup": warmup,
        });
        let mut node = command("node", ["tests/peers/browser/run.js"])?;
        node.arg(settings.to_string());
        node.env("PACKAGES", &packages).env("INITIAL", &initial);
        node.envs(setup::chromium().map(|browser| ("CHROMIUM", browser)));
        measured(node)
    };
    let (mut table, mut kept) = (Vec::new(), Vec::new());
    let mut counts = Vec::new();
    for (device, others, steps) in [("webgpu", &WEBGPU[..], 8), ("wasm", &WASM[..], 20)] {
        for (name, method, peers_method) in METHODS {
            let mut ours = Side::default();
            let mut theirs: Vec<Side> = others.iter().map(|_| Side::default()).collect();
            step(&format!("{device}: {name}"), || {
                for _ in 0..rounds {
                    let found = ask("apet", device, method, true, [steps, 5])?;
                    ours.add(&found)?;
                    counts.push((device, name, found.clone()));
                    kept.push(found.clone());
                    // The losses are those of the peers' own method.
                    let beside = match method == peers_method {
                        true => found,
                        false => ask("apet", device, peers_method, true, [1, 4])?,
                    };
                    for (other, side) in others.iter().zip(&mut theirs) {
                        // Seconds a step.
                        let slow = device == "webgpu" && other.side == "tfjs";
                        let few = if slow { [2, 1] } else { [steps, 5] };
                        let found = ask(other.side, device, peers_method, other.jit, few)?;
                        agree(&beside, &found).with_context(|| other.name.to_owned())?;
                        side.add(&found)?;
                        kept.push(found);
                    }
                }
                Ok(())
            })?;
            let of_others = theirs.iter().map(|side| median(&side.medians));
            let fastest = of_others.fold(f64::INFINITY, f64::min);
            let cells: Vec<String> = others
                .iter()
                .zip(&theirs)
                .map(|(other, side)| format!("{} {}", other.name, side.shown()))
                .collect();
            table.push(format!(
                "| {device} | {name} | {} | {} | {:.2} |",
                ours.shown(),
                cells.join("; "),
                median(&ours.medians) / fastest
            ));
        }
    }
    println!("| device | trainable | APET Lab, ms | the others, ms | ratio to the fastest |");
    println!("|---|---|---|---|---|");
    println!("{}", table.join("\n"));
    println!(
        "| device | trainable | first step, ms | pipelines compiled by its end | dispatches, submissions, reads a step |"
    );
    println!("|---|---|---|---|---|");
    for (device, name, found) in counts.iter().filter(|(device, ..)| *device == "webgpu") {
        let of = |name: &str| found["of_a_step"][name].as_f64().unwrap_or_default();
        println!(
            "| {device} | {name} | {:.0} | {} | {}, {}, {} |",
            found["first_step_ms"].as_f64().unwrap_or_default(),
            found["first_pipelines"],
            of("dispatches"),
            of("submissions"),
            of("reads"),
        );
    }
    Ok(kept)
}

/// Checks that both sides have the same number of scalars and the same first losses.
fn agree(ours: &Value, theirs: &Value) -> Result<()> {
    let losses = |of: &Value| -> Vec<f64> {
        let all = of["losses"].as_array().into_iter().flatten();
        all.filter_map(Value::as_f64).collect()
    };
    let counts = [
        &ours["theta"]["trainable_parameters"],
        &theirs["trainable_parameters"],
    ];
    ensure!(
        counts[0] == counts[1],
        "they tune {}, we {}",
        counts[1],
        counts[0]
    );
    let (ours, theirs) = (losses(ours), losses(theirs));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        ensure!(
            (ours - theirs).abs() <= TOLERANCE * theirs.abs(),
            "the losses differ: theirs {theirs}, ours {ours}"
        );
    }
    ensure!(ours.len().min(theirs.len()) >= 3, "too few losses");
    Ok(())
}

/// The libraries that the others' pages load, in the target directory.
fn packages() -> Result<PathBuf> {
    let folder = target()?.join("peers/browser");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let from = root().join("tests/peers/browser");
    for file in ["package.json", "package-lock.json"] {
        fs::copy(from.join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    let mut install = npm([
        "ci",
        "--prefer-offline",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
    ])?;
    install.current_dir(&folder);
    run(install)?;
    Ok(folder)
}
