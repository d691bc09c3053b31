//! A study's curves in the layout that trackio writes for a static page (`SQLiteStorage.export_for_static_space`,
//! trackio 0.30): `metrics.parquet` with a row for what is known of a step, `aux/configs.parquet` with a row a run,
//! `runs.json` and `settings.json`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use apet_store::write_atomic;
use apet_study::{COLUMNS, ColumnKind, TableValue, table_values};
use serde_json::{Value, json};

use super::curves;
use super::parquet::Table;
use super::records::{WITHOUT_STEPS, paths, read};
use super::study_dir::StudyDir;

/// Records that are in memory at once.
const RECORDS: usize = 500;

/// Of Okabe and Ito, whom most people can tell apart.
const COLOURS: [&str; 7] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
];

/// Columns of `metrics.parquet` in addition to the scalars.
const METRICS: [(&str, ColumnKind); 5] = [
    ("id", ColumnKind::Whole),
    ("run_id", ColumnKind::Text),
    ("timestamp", ColumnKind::Text),
    ("run_name", ColumnKind::Text),
    ("step", ColumnKind::Whole),
];

/// Columns of `configs.parquet` in addition to those of a run.
const CONFIGS: [(&str, ColumnKind); 4] = [
    ("id", ColumnKind::Whole),
    ("run_id", ColumnKind::Text),
    ("run_name", ColumnKind::Text),
    ("created_at", ColumnKind::Text),
];

/// Writes the study into the folder `out`; gives how many runs it has.
///
/// # Errors
/// Names the record that cannot be read; or when a file cannot be written.
pub(crate) fn write(folder: &StudyDir, out: &Path) -> Result<usize> {
    let paths = paths(folder);
    let scores = read(&paths, WITHOUT_STEPS, |record| curves::points(&record))?;
    let mut tags: BTreeSet<String> = ["loss", "learning_rate", "grad_norm"]
        .map(|name| format!("train/{name}"))
        .into();
    for points in scores {
        tags.extend(
            points?
                .into_iter()
                .flat_map(|point| point.scalars)
                .map(|scalar| scalar.0),
        );
    }
    let scalars = tags.iter().map(|tag| (&tag[..], ColumnKind::Real));
    let mut metrics = Table::new(METRICS.into_iter().chain(scalars))?;
    let columns = COLUMNS.iter().map(|column| (column.name, column.kind));
    let mut configs = Table::new(CONFIGS.into_iter().chain(columns))?;
    let mut runs: Vec<Value> = Vec::new();
    let mut id = 0u64;
    for paths in paths.chunks(RECORDS) {
        let (mut rows, mut abouts) = (Vec::new(), Vec::new());
        let records = read(paths, apet_record::RunRecord::parse, |record| record)?;
        for record in &records {
            let (run, name) = (&record.header.run[..], curves::name(record));
            let begun = timestamp(curves::begun(record)?);
            let points = curves::points(record)?;
            runs.push(json!({
                "id": run,
                "name": name,
                "created_at": begun,
                "last_step": points.iter().map(|point| point.step).max(),
                "log_count": points.len(),
            }));
            let number = runs.len();
            let about = [number.into(), run.into(), name[..].into(), begun[..].into()];
            abouts.push(about.into_iter().chain(table_values(record)).collect());
            for point in points {
                id += 1;
                let time = timestamp(point.time);
                let mut row: Vec<TableValue> = vec![
                    id.into(),
                    run.into(),
                    time[..].into(),
                    name[..].into(),
                    point.step.into(),
                ];
                row.extend(tags.iter().map(|tag| {
                    let found = point.scalars.iter().find(|scalar| scalar.0 == *tag);
                    TableValue::Real(found.map(|scalar| scalar.1))
                }));
                rows.push(row);
            }
        }
        metrics.add(&rows)?;
        configs.add(&abouts)?;
    }
    let settings = json!({ "color_palette": COLOURS, "plot_order": [] });
    let count = runs.len();
    let files: [(PathBuf, Vec<u8>); 4] = [
        ("metrics.parquet".into(), metrics.end()?),
        (["aux", "configs.parquet"].iter().collect(), configs.end()?),
        ("runs.json".into(), serde_json::to_vec(&runs)?),
        ("settings.json".into(), serde_json::to_vec(&settings)?),
    ];
    for (name, bytes) in files {
        write_atomic(&out.join(name), |file| Ok(file.write_all(&bytes)?))?;
    }
    Ok(count)
}

fn timestamp(seconds: f64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
    humantime::format_rfc3339_millis(time).to_string()
}
