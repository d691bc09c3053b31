//! A study's report, as Markdown or as a page in one file.

use std::io::Write;

use anyhow::{Context, Result};
use apet_record::RunRecord;
use apet_store::builtin;
use apet_study::Study;
use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::{Compression, write::GzEncoder};

use super::study_dir::StudyDir;

/// What stands in the page where the study belongs.
const STUDY: &str = "STUDY";

/// The report as Markdown.
///
/// # Errors
/// When two of the records are of one run and differ.
pub(crate) fn as_markdown(folder: &StudyDir, records: Vec<RunRecord>) -> Result<String> {
    let mut study = Study::new();
    for record in records {
        study.insert("study", record)?;
    }
    let grid = folder.plan.grid();
    let mut text = study.report(&grid.name, &grid.about, None);
    let missing = missing(folder);
    if !missing.is_empty() {
        text = format!("{text}\n## Missing\n\n{missing}\n");
    }
    Ok(text)
}

/// The viewer of the page with the study's records inside.
///
/// # Errors
/// When this build has no page.
pub(crate) fn as_page(folder: &StudyDir, records: &[RunRecord]) -> Result<String> {
    let page = builtin::Embedded::get("report.html");
    let page =
        page.context("this build has no page inside: cargo xtask build makes one that has")?;
    let page = String::from_utf8(page.data.into_owned())?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    for record in records {
        packed.write_all(record.to_jsonl().as_bytes())?;
    }
    let grid = folder.plan.grid();
    let study = serde_json::json!({
        "name": grid.name,
        "about": grid.about,
        "missing": missing(folder),
        "records": BASE64_STANDARD.encode(packed.finish()?),
    });
    // A name that ends the script would end the page.
    let study = study.to_string().replace('<', "\\u003c");
    let (before, after) = page
        .split_once(STUDY)
        .context("the page inside has no place for a study")?;
    Ok([before, &study, after].concat())
}

/// Which of a study's runs have no record.
fn missing(folder: &StudyDir) -> String {
    let (mut open, mut all) = (Vec::new(), 0);
    for run in 0..folder.manifest.runs {
        let id = folder.spec(run).map(|spec| spec.id());
        if id.is_none_or(|id| !folder.record(&id).exists()) {
            all += 1;
            if open.len() < 20 {
                open.push(run.to_string());
            }
        }
    }
    if all == 0 {
        return String::new();
    }
    let more = if all > open.len() { ", ..." } else { "" };
    let runs = folder.manifest.runs;
    format!(
        "{all} of {runs} runs are not done: {}{more}.",
        open.join(", ")
    )
}
