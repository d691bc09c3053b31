//! What a record says of its run over the steps, for programs that draw curves.

use std::time::SystemTime;

use anyhow::{Context, Result};
use apet_record::{Line, RunRecord};

/// What is known of a step at once.
pub(crate) struct Point {
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) step: usize,
    /// Such as `train/loss` and `dev/accuracy`.
    pub(crate) scalars: Vec<(String, f64)>,
}

/// A run's points, in the order of its record.
///
/// # Errors
/// When its start is no time.
pub(crate) fn points(record: &RunRecord) -> Result<Vec<Point>> {
    let begun = begun(record)?;
    let mut time = begun;
    let mut points = Vec::new();
    for line in &record.lines {
        let (step, split, scalars) = match line {
            Line::Step(step) => {
                time = begun + step.ms / 1000.0;
                let scalars = vec![
                    ("loss", step.loss),
                    ("learning_rate", step.learning_rate),
                    ("grad_norm", step.grad_norm),
                ];
                (step.step, "train", scalars)
            }
            Line::Eval(eval) => {
                let mut scalars = vec![(&eval.metric[..], eval.score)];
                scalars.extend(eval.loss.map(|loss| ("loss", loss)));
                (eval.step, &eval.split[..], scalars)
            }
            _ => continue,
        };
        let scalars = scalars.into_iter();
        let scalars = scalars.map(|(name, value)| (format!("{split}/{name}"), value));
        points.push(Point {
            time,
            step,
            scalars: scalars.collect(),
        });
    }
    Ok(points)
}

/// When a run began, seconds since 1970.
///
/// # Errors
/// When that is no time.
pub(crate) fn begun(record: &RunRecord) -> Result<f64> {
    let header = &record.header;
    let begun = humantime::parse_rfc3339(&header.started)
        .with_context(|| format!("run {}: started: {}", header.run, header.started))?;
    Ok(begun.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64())
}

/// What a reader tells runs apart by, as the name of a folder can be.
pub(crate) fn name(record: &RunRecord) -> String {
    let header = &record.header;
    let spec = &header.spec;
    let seeds = &spec.seeds;
    let name = format!(
        "{} {} {} {} p{} b{} i{} {}",
        spec.model,
        spec.task.name,
        spec.method.label(),
        header.theta.trainable_parameters,
        seeds.placement,
        seeds.batches,
        seeds.init,
        header.run
    );
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '-',
    };
    name.chars().map(plain).collect()
}
