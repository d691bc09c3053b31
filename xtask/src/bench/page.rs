//! Opening, sorting, filtering and drawing 10,000 records on the page (tests/browser/page-bench.js).

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::build::apet;
use crate::setup;
use crate::step::{command, root, target};

/// Measures, and returns all figures.
///
/// # Errors
/// If a requirement is missing, or the page misbehaves.
pub(super) fn page(rounds: usize) -> Result<Vec<Value>> {
    let script = root().join("tests/browser/page-bench.js");
    let mut node = command("node", [script])?;
    node.arg(rounds.to_string()).env("APET_BIN", apet()?);
    node.env("APET_HOME", target()?.join("test-store"));
    node.envs(setup::chromium().map(|browser| ("CHROMIUM", browser)));
    let output = node.stderr(Stdio::inherit()).output().context("node")?;
    ensure!(
        output.status.success(),
        "page-bench.js exited with {}",
        output.status
    );
    let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let what = line["what"].as_str().context("a line says of nothing")?;
        let ms = line["ms"].as_f64().context("a line has no time")?;
        found.entry(what.into()).or_default().push(ms);
    }
    println!("| the page with 10,000 records | ms |\n|---|---|");
    for (what, ms) in &found {
        let [least, most] = super::range(ms);
        println!(
            "| {what} | {:.0} ({least:.0} to {most:.0}) |",
            super::median(ms)
        );
    }
    let kept = found.into_iter();
    Ok(kept
        .map(|(what, ms)| json!({ "page": what, "ms": ms }))
        .collect())
}
