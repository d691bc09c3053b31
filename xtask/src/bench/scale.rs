//! The time of a step by the model's size, the length of rows and their number: measured, and expected from the
//! arithmetic.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::measured;
use crate::build::apet;
use crate::step::{command, root, step, target};

/// A model and a batch.
#[derive(Clone, Copy)]
struct ModelSize {
    width: usize,
    layers: usize,
    rows: usize,
    length: usize,
}

const MIDDLE: ModelSize = ModelSize {
    width: 256,
    layers: 4,
    rows: 4,
    length: 128,
};

impl ModelSize {
    /// Operations of a step of APET: forward and backward through the layers, and attention, whose weights are
    /// computed twice; two operations for each product.
    fn operations(self) -> f64 {
        let tokens = (self.rows * self.length) as f64;
        let layer = 12.0 * (self.width * self.width) as f64;
        let attention = (self.length * self.width) as f64;
        2.0 * tokens * self.layers as f64 * (2.0 * layer + 7.0 * attention)
    }
}

/// The varied quantity and its values.
type Axis = (&'static str, fn(usize) -> ModelSize, [usize; 5]);

const AXES: [Axis; 4] = [
    (
        "width",
        |width| ModelSize { width, ..MIDDLE },
        [128, 256, 384, 512, 768],
    ),
    (
        "blocks",
        |layers| ModelSize { layers, ..MIDDLE },
        [2, 4, 8, 12, 16],
    ),
    (
        "length",
        |length| ModelSize { length, ..MIDDLE },
        [32, 64, 128, 256, 512],
    ),
    (
        "rows",
        |rows| ModelSize { rows, ..MIDDLE },
        [2, 4, 8, 16, 32],
    ),
];

/// Measures along each axis, prints the exponents, draws docs/scaling.svg, and returns all figures.
///
/// # Errors
/// If a requirement is missing, or a loss does not fall.
pub(super) fn scale() -> Result<Vec<Value>> {
    let mut kept = Vec::new();
    let mut table = Vec::new();
    let mut panels = String::new();
    for (number, (name, size, values)) in AXES.iter().enumerate() {
        let mut found = Vec::new();
        step(name, || {
            for &value in values {
                let size = size(value);
                let milliseconds = time(size)?;
                kept.push(json!({ "scale": name, "value": value, "step_ms": milliseconds }));
                found.push((value as f64, milliseconds, size.operations()));
            }
            Ok(())
        })?;
        let of = |pick: fn(&(f64, f64, f64)) -> f64| exponent(found.iter().map(|f| (f.0, pick(f))));
        table.push(format!(
            "| {name} | {} to {} | {:.1} to {:.1} | {:.2} | {:.2} |",
            values[0],
            values[4],
            found[0].1,
            found[4].1,
            of(|f| f.1),
            of(|f| f.2)
        ));
        panels += &panel(number, name, &found)?;
    }
    println!("| varied | from, to | ms a step | exponent | exponent of the arithmetic |");
    println!("|---|---|---|---|---|");
    println!("{}", table.join("\n"));
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} 260\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{panels}</svg>\n",
        AXES.len() * PANEL
    );
    let path = root().join("docs/scaling.svg");
    fs::write(&path, svg).with_context(|| path.display().to_string())?;
    Ok(kept)
}

/// The median step of a BERT with random weights.
fn time(size: ModelSize) -> Result<f64> {
    let folder = target()?.join("bench-model");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let config = json!({
        "model_type": "bert", "vocab_size": 1024, "hidden_size": size.width,
        "num_hidden_layers": size.layers, "num_attention_heads": size.width / 32,
        "intermediate_size": 4 * size.width, "max_position_embeddings": 512, "hidden_act": "gelu",
    });
    fs::write(folder.join("config.json"), config.to_string())?;
    let mut bench = command(
        apet()?,
        ["bench", "--json", "--count", "100", "--steps", "7"],
    )?;
    bench.arg("--model").arg(&folder);
    bench.args([
        "--batch",
        &size.rows.to_string(),
        "--seq",
        &size.length.to_string(),
    ]);
    let median = measured(bench)?["step_ms"]["median"].as_f64();
    median.context("no step_ms.median")
}

/// The slope of a least-squares line through the logarithms.
fn exponent(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> = points.map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean =
        |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let along: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    along / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

/// Width of a panel.
const PANEL: usize = 230;

/// A panel with logarithmic axes: measured points, and the expected line through their middle.
fn panel(number: usize, name: &str, found: &[(f64, f64, f64)]) -> Result<String> {
    let left = number * PANEL + 45;
    let ends = |pick: fn(&(f64, f64, f64)) -> f64| {
        let all = found.iter().map(pick).map(f64::ln);
        (
            all.clone().fold(f64::INFINITY, f64::min),
            all.fold(f64::NEG_INFINITY, f64::max),
        )
    };
    let ((x0, x1), (y0, y1)) = (ends(|f| f.0), ends(|f| f.1));
    let shift = found.iter().map(|f| (f.1 / f.2).ln()).sum::<f64>() / found.len() as f64;
    let at = |x: f64, y: f64| {
        let across = left as f64 + (x.ln() - x0) / (x1 - x0) * 160.0;
        (across, 210.0 - (y.ln() - y0) / (y1 - y0) * 160.0)
    };
    let mut svg = format!(
        "<text x=\"{left}\" y=\"20\" font-weight=\"bold\">ms a step against {name}</text>\n"
    );
    let line: Vec<String> = found
        .iter()
        .map(|f| at(f.0, f.2 * shift.exp()))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>",
        line.join(" ")
    )?;
    for (value, milliseconds, _) in found {
        let (x, y) = at(*value, *milliseconds);
        writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#1f6feb\"/>"
        )?;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"240\" text-anchor=\"middle\">{value}</text>"
        )?;
        let (x, y) = (x - 6.0, y - 8.0);
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{milliseconds:.0}</text>"
        )?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_slopes() {
        let points = [1.0, 2.0, 5.0].map(|x: f64| (x, 3.0 * x.powf(1.5)));
        assert!((exponent(points.into_iter()) - 1.5).abs() < 1e-12);
    }
}
