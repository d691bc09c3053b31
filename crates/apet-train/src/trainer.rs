//! The step: batch, forward, loss, gradients of theta, update.

use apet_plm::{Batch, Encoded, Plm, PlmError};
use apet_record::{RunSpec, SpecError, Stream};
use apet_tasks::{Example, Task, accuracy};
use apet_theta::{Leaves, Theta};
use burn::{
    Tensor,
    tensor::{DType, Int, TensorData},
};

use crate::AdamW;

/// Rows of an evaluation batch: no gradients are kept, so more fit than in training.
const EVAL_ROWS: usize = 32;

/// A run that can not begin or go on, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// The spec does not fit the model or the task.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The model can not do it.
    #[error(transparent)]
    Plm(#[from] PlmError),
    /// The device failed.
    #[error("device: {0}; the run goes on from its last checkpoint when it is started again")]
    Device(String),
    /// The host could not keep a line or a checkpoint.
    #[error("{0}")]
    Host(String),
    /// A checkpoint that does not belong to this run.
    #[error("checkpoint: {0}; delete it to begin the run anew")]
    Checkpoint(String),
}

/// One step's figures, still on the device.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Mean loss of the rows before the update, `[1]`.
    pub loss: Tensor<1>,
    /// Norm of theta's gradient before clipping, `[1]`.
    pub grad_norm: Tensor<1>,
    /// Tokens, padding not counted.
    pub tokens: u64,
}

/// Scores on a split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean cross-entropy, nats.
    pub loss: f64,
    /// Rows.
    pub rows: usize,
}

/// Tokenized rows with their labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    texts: Vec<Encoded>,
    labels: Vec<usize>,
}

impl Rows {
    fn new(plm: &Plm, examples: &[Example], max_length: usize) -> Result<Self, PlmError> {
        let texts = examples
            .iter()
            .map(|e| (e.text.as_str(), e.pair.as_deref()));
        Ok(Self {
            texts: plm.tokenizer().encode(texts, max_length)?,
            labels: examples.iter().map(|e| e.label).collect(),
        })
    }

    fn batch(&self, rows: &[usize], plm: &Plm) -> Batch {
        let texts: Vec<&Encoded> = rows.iter().map(|&r| &self.texts[r]).collect();
        plm.batch(&texts)
    }
}

/// A model, a task, theta and the optimizer: everything a step needs.
#[derive(Debug)]
pub struct Trainer<'a> {
    plm: &'a Plm,
    spec: RunSpec,
    classes: usize,
    train: Rows,
    pub(crate) dev: Rows,
    pub(crate) test: Rows,
    pub(crate) theta: Theta,
    pub(crate) optimizer: AdamW,
}

impl<'a> Trainer<'a> {
    /// Tokenizes the task and makes theta.
    ///
    /// # Errors
    /// When the spec does not fit the model or the task.
    pub fn new(plm: &'a Plm, task: &Task, spec: &RunSpec) -> Result<Self, TrainError> {
        spec.check()?;
        if spec.task.max_length > plm.max_length() {
            return Err(TrainError::Spec(SpecError {
                field: "task.max_length".into(),
                problem: format!(
                    "found {}, {} has positions for {} tokens",
                    spec.task.max_length,
                    plm.info().name,
                    plm.max_length()
                ),
            }));
        }
        let rows = |examples: &[Example]| Rows::new(plm, examples, spec.task.max_length);
        let theta = Theta::new(plm, spec, task.labels.len())?;
        let parameters = theta.values().dims()[0];
        Ok(Self {
            plm,
            classes: task.labels.len(),
            train: rows(&task.train)?,
            dev: rows(&task.dev)?,
            test: rows(&task.test)?,
            optimizer: AdamW::new(&spec.optimizer, parameters, plm.device()),
            theta,
            spec: spec.clone(),
        })
    }

    /// What is tuned.
    pub fn theta(&self) -> &Theta {
        &self.theta
    }

    /// Puts other values into theta.
    pub fn set_values(&mut self, values: Tensor<1>) {
        self.theta.set_values(values);
    }

    /// One optimizer step on training rows, given per accumulated batch.
    pub fn step(&mut self, batches: &[Vec<usize>], rate: f64) -> StepResult {
        let mut tokens = 0;
        let share = 1.0 / batches.len() as f64;
        let mut sum: Option<(Tensor<1>, Tensor<1>)> = None;
        for rows in batches {
            let batch = self.train.batch(rows, self.plm);
            tokens += batch.tokens();
            let leaves = self.theta.leaves();
            let logits = self.logits(&batch, &leaves);
            let loss = self.cross_entropy(logits, &self.train, rows) * share;
            let mut gradients = loss.backward();
            let gradient = self.theta.gradient(&leaves, &mut gradients);
            let loss = loss.inner();
            sum = Some(match sum {
                None => (gradient, loss),
                Some((g, l)) => (g + gradient, l + loss),
            });
        }
        let (gradient, loss) = sum.unwrap_or_else(|| {
            (
                self.theta.values().zeros_like(),
                Tensor::zeros([1], self.plm.device()),
            )
        });
        let (gradient, grad_norm) = self.optimizer.clip(gradient);
        let values = self.optimizer.update(self.theta.values(), gradient, rate);
        self.theta.set_values(values);
        StepResult {
            loss,
            grad_norm,
            tokens,
        }
    }

    /// Class scores, `[rows, classes]`.
    fn logits(&self, batch: &Batch, leaves: &Leaves) -> Tensor<2> {
        let tap = self.theta.tap(leaves);
        let states = self.plm.states(batch, &tap);
        tap.head(self.plm.pool(batch, states, self.spec.head.pooling, &tap))
    }

    /// Mean cross-entropy, `[1]`.
    fn cross_entropy(&self, logits: Tensor<2>, from: &Rows, rows: &[usize]) -> Tensor<1> {
        let labels: Vec<i32> = rows.iter().map(|&row| from.labels[row] as i32).collect();
        let labels = TensorData::new(labels, [rows.len()]);
        let labels = Tensor::<1, Int>::from_data(labels, (self.plm.device(), DType::I32));
        apet_kernels::cross_entropy(logits, labels).mean()
    }

    /// Scores theta's present values on rows, with one read at the end.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) async fn score(&self, rows: &Rows) -> Result<Scores, TrainError> {
        // Sequences of like length share a batch: less padding, same scores.
        let mut order: Vec<usize> = (0..rows.labels.len()).collect();
        order.sort_by_key(|&r| rows.texts[r].ids.len());
        let constants = self.theta.constants();
        let parts = order
            .chunks(EVAL_ROWS)
            .map(|part| self.logits(&rows.batch(part, self.plm), &constants));
        let logits = Tensor::cat(parts.collect(), 0);
        let logits = read(logits).await?;
        let gold: Vec<usize> = order.iter().map(|&row| rows.labels[row]).collect();
        let (mut predicted, mut loss) = (Vec::with_capacity(gold.len()), 0f64);
        for (scores, &label) in logits.chunks_exact(self.classes).zip(&gold) {
            let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // None where a score is no number: then no answer is right.
            let answer = scores.iter().position(|&s| s == best);
            predicted.push(answer.unwrap_or(usize::MAX));
            let sum: f64 = scores.iter().map(|&s| f64::from(s - best).exp()).sum();
            loss += sum.ln() - f64::from(scores[label] - best);
        }
        Ok(Scores {
            accuracy: accuracy(&predicted, &gold),
            loss: loss / gold.len().max(1) as f64,
            rows: gold.len(),
        })
    }

    /// Class scores of training rows with theta's present values, `[rows, classes]`.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn predict(&self, rows: &[usize]) -> Result<Vec<f32>, TrainError> {
        let batch = self.train.batch(rows, self.plm);
        read(self.logits(&batch, &self.theta.constants())).await
    }

    /// Scores on dev.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn score_dev(&self) -> Result<Scores, TrainError> {
        self.score(&self.dev).await
    }

    /// Scores on test.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn score_test(&self) -> Result<Scores, TrainError> {
        self.score(&self.test).await
    }

    /// The order of training rows, from the seed alone.
    pub(crate) fn sampler(&self) -> Sampler {
        Sampler {
            stream: Stream::new("batches", self.spec.seeds.batches),
            rows: self.train.labels.len(),
            order: Vec::new(),
        }
    }
}

/// Reads a tensor's values.
pub(crate) async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    let data = tensor
        .into_data_async()
        .await
        .map_err(|e| TrainError::Device(e.to_string()))?;
    data.try_to_vec::<f32>()
        .map_err(|e| TrainError::Device(format!("{e:?}")))
}

/// Training rows without end, shuffled anew each epoch; a batch may cross into the next.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    stream: Stream,
    rows: usize,
    order: Vec<usize>,
}

impl Sampler {
    pub(crate) fn batch(&mut self, size: usize) -> Vec<usize> {
        let mut batch = Vec::with_capacity(size);
        while batch.len() < size {
            if self.order.is_empty() {
                self.order = (0..self.rows).rev().collect();
                self.stream.shuffle(&mut self.order);
            }
            batch.extend(self.order.pop());
        }
        batch
    }
}
