//! Predictions of a model with a theta for a user's text.

use apet_plm::Plm;
use apet_record::RunSpec;
use apet_tasks::{Answer, Example, Task};
use apet_theta::Theta;
use serde::Serialize;

use crate::{Prediction, TrainError, Trainer};

/// An answer to a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// How likely each class is: they sum to 1.
    Classes(Vec<f64>),
    /// What is written.
    Text(String),
}

/// Asks a model with a theta of `spec` what `task` asks, about a text (or two) that is not among its rows.
///
/// # Errors
/// When the spec does not fit the model or the task, or the device fails.
pub async fn ask(
    plm: &Plm,
    task: &Task,
    spec: &RunSpec,
    theta: Theta,
    (text, pair): (String, Option<String>),
) -> Result<Asked, TrainError> {
    // What is right is not known, and nothing of it is used.
    let answer = match task.metric.of_texts() {
        true => Answer::Texts(vec![String::new()]),
        false => Answer::Class(0),
    };
    let asked = Task {
        name: task.name.clone(),
        labels: task.labels.clone(),
        metric: task.metric,
        words: task.words,
        label_words: task.label_words.clone(),
        template: task.template.clone(),
        target_length: task.target_length,
        columns: task.columns.clone(),
        test: vec![Example { text, pair, answer }],
        ..Task::default()
    };
    let trainer = Trainer::of(plm, &asked, spec, theta)?;
    if task.metric.of_texts() {
        let (_, mut answers) = trainer.predict_test().await?;
        return Ok(match answers.pop() {
            Some(Prediction::Text(text)) => Asked::Text(text),
            _ => Asked::Text(String::new()),
        });
    }
    let scores = trainer.class_scores(&trainer.test, &[0]).await?;
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = (scores.iter())
        .map(|&score| f64::from(score - most).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    Ok(Asked::Classes(weights.iter().map(|w| w / sum).collect()))
}
