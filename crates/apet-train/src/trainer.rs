//! The step: batch, forward, loss, gradients of theta, update.

use apet_plm::{Batch, Encoded, Plm, PlmError, Prompted};
use apet_record::{Metric, Objective, RunSpec, SpecError, Stream};
use apet_tasks::{Example, Task};
use apet_theta::{DeltaHooks, Leaves, Placed, Theta};
use burn::{
    Tensor,
    tensor::{DType, Int, TensorData},
};

use crate::{
    AdamW, Shard,
    rows::{Rows, words},
    timings::{StepPhase, Stopwatch},
};

/// A run cannot start or continue. The message is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// The spec does not fit the model or the task.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The model does not support it.
    #[error(transparent)]
    Plm(#[from] PlmError),
    /// The device failed.
    #[error("device: {0}; restart the run to resume from its last checkpoint")]
    Device(String),
    /// The host could not write a line or a checkpoint.
    #[error("{0}")]
    Host(String),
    /// A checkpoint that does not belong to this run.
    #[error("checkpoint: {0}; delete it to start the run from the beginning")]
    Checkpoint(String),
}

/// One step's results, still on the device.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Mean loss of the rows before the update, `[1]`.
    pub loss: Tensor<1>,
    /// Norm of theta's gradient before clipping, `[1]`.
    pub grad_norm: Tensor<1>,
    /// Tokens, padding not counted.
    pub tokens: u64,
}

/// A model, a task, theta and the optimizer: everything a step needs.
#[derive(Debug)]
pub struct Trainer<'a> {
    plm: &'a Plm,
    spec: RunSpec,
    /// Token ids of each label's word, followed by the end token.
    pub(crate) words: Vec<Vec<u32>>,
    /// How answers are scored.
    pub(crate) metric: Metric,
    /// Tokens of an answer that is a text.
    pub(crate) target_length: usize,
    pub(crate) train: Rows,
    pub(crate) dev: Rows,
    pub(crate) test: Rows,
    pub(crate) theta: Theta,
    pub(crate) optimizer: AdamW,
    pub(crate) stopwatch: Stopwatch,
}

impl<'a> Trainer<'a> {
    /// Tokenizes the task and makes theta: what the spec selects by values, gradients or
    /// a mask lies at `chosen`.
    ///
    /// # Errors
    /// When the spec does not fit the model or the task.
    pub fn new(
        plm: &'a Plm,
        task: &Task,
        spec: &RunSpec,
        chosen: Option<&Placed>,
    ) -> Result<Self, TrainError> {
        spec.check()?;
        let theta = Theta::new(plm, spec, task.labels.len(), chosen)?;
        Self::of(plm, task, spec, theta)
    }

    /// The same with a theta that was made elsewhere.
    ///
    /// # Errors
    /// When the spec does not fit the model or the task.
    pub fn of(plm: &'a Plm, task: &Task, spec: &RunSpec, theta: Theta) -> Result<Self, TrainError> {
        if task.metric.of_texts() && spec.objective == Objective::ClassHead {
            return Err(TrainError::Spec(SpecError {
                field: "objective".into(),
                problem: format!(
                    "found \"class_head\", the answers of {} are texts, expected \"label_words\", which a decoder or an encoder-decoder can write",
                    task.name
                ),
            }));
        }
        let rows = |examples: &[Example]| Rows::new(plm, task, examples, spec);
        let [train, dev, test] = [&task.train, &task.dev, &task.test].map(|of| rows(of));
        let mut trainer = Self::with(plm, spec, theta, words(plm, task)?, [train?, dev?, test?])?;
        trainer.metric = task.metric;
        trainer.target_length = task.target_length;
        Ok(trainer)
    }

    /// A trainer on rows of token ids, each with a class below `classes`, for measurements: it has
    /// nothing else to score.
    ///
    /// # Errors
    /// When the spec does not fit the model.
    pub fn on(
        plm: &'a Plm,
        spec: &RunSpec,
        classes: usize,
        rows: Vec<(Encoded, usize)>,
    ) -> Result<Self, TrainError> {
        spec.check()?;
        let theta = Theta::new(plm, spec, classes, None)?;
        let (texts, labels) = rows.into_iter().unzip();
        let words = (0..classes as u32).map(|word| vec![word]).collect();
        let none = Rows::default;
        let rows = [Rows::of_classes(texts, labels), none(), none()];
        Self::with(plm, spec, theta, words, rows)
    }

    fn with(
        plm: &'a Plm,
        spec: &RunSpec,
        theta: Theta,
        words: Vec<Vec<u32>>,
        [train, dev, test]: [Rows; 3],
    ) -> Result<Self, TrainError> {
        let ahead = theta.virtual_tokens();
        if spec.task.max_length + ahead > plm.max_length() {
            let ahead = match ahead {
                0 => String::new(),
                n => format!(" and {n} virtual tokens"),
            };
            return Err(TrainError::Spec(SpecError {
                field: "task.max_length".into(),
                problem: format!(
                    "found {}{ahead}, {} has positions for {} tokens",
                    spec.task.max_length,
                    plm.info().name,
                    plm.max_length()
                ),
            }));
        }
        let loaded = plm.dtype();
        if loaded != spec.dtype {
            return Err(TrainError::Spec(SpecError {
                field: "dtype".into(),
                problem: format!(
                    "found \"{}\", {} is loaded as {}",
                    spec.dtype.name(),
                    plm.info().name,
                    loaded.name()
                ),
            }));
        }
        Ok(Self {
            plm,
            words,
            metric: Metric::default(),
            target_length: 0,
            train,
            dev,
            test,
            optimizer: AdamW::new(&spec.optimizer, theta.weights(), plm.device()),
            theta,
            spec: spec.clone(),
            stopwatch: Stopwatch::default(),
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

    /// One optimizer step on training rows, given for each accumulated batch.
    ///
    /// # Errors
    /// If the model does not support the objective.
    pub fn step(&mut self, batches: &[Vec<usize>], rate: f64) -> Result<StepResult, TrainError> {
        let (gradient, loss) = self.gradient(batches)?;
        Ok(self.update(gradient, loss, batches, rate))
    }

    /// Clips a gradient that was made on `batches`, and moves theta by it.
    pub(crate) fn update(
        &mut self,
        gradient: Tensor<1>,
        loss: Tensor<1>,
        batches: &[Vec<usize>],
        rate: f64,
    ) -> StepResult {
        let texts = batches.iter().flat_map(|rows| self.texts(rows));
        let tokens = texts.map(|text| text.ids.len() as u64).sum();
        let optimizer = &mut self.optimizer;
        let grad_norm = self
            .theta
            .change(|values| optimizer.update(values, gradient, rate));
        self.stopwatch.lap(StepPhase::Update);
        StepResult {
            loss,
            grad_norm,
            tokens,
        }
    }

    /// Training rows.
    pub(crate) fn rows(&self) -> usize {
        self.train.len()
    }

    /// The frozen model.
    pub(crate) fn plm(&self) -> &'a Plm {
        self.plm
    }

    /// What decides the run.
    pub(crate) fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// Tokens of training rows.
    pub(crate) fn texts(&self, rows: &[usize]) -> impl Iterator<Item = &Encoded> {
        rows.iter().map(|&row| &self.train.texts[row])
    }

    /// Labels of training rows.
    pub(crate) fn labels(&self, rows: &[usize]) -> impl Iterator<Item = i32> {
        rows.iter().map(|&row| self.train.class(row) as i32)
    }

    /// Training rows' prompts, followed by their correct answers.
    pub(crate) fn asked_of(&self, rows: &[usize]) -> impl Iterator<Item = Prompted> {
        rows.iter()
            .map(|&row| self.train.answered(row, &self.words))
    }

    /// Theta's gradient `[parameters]` and the loss `[1]`, means over the batches.
    ///
    /// # Errors
    /// If the model does not support the objective.
    pub fn gradient(&self, batches: &[Vec<usize>]) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        let weight = 1.0 / batches.len() as f64;
        let shard = |rows: &Vec<usize>| Shard {
            rows: rows.clone(),
            weight,
        };
        self.gradient_of(&batches.iter().map(shard).collect::<Vec<_>>())
    }

    /// Theta's gradient `[parameters]` and the loss `[1]`, sums over shards.
    ///
    /// # Errors
    /// If the model does not support the objective.
    pub(crate) fn gradient_of(
        &self,
        shards: &[Shard],
    ) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        let mut sum: Option<(Tensor<1>, Tensor<1>)> = None;
        for Shard { rows, weight } in shards {
            let (gradient, loss) = if self.spec.train.gradient_checkpointing {
                self.gradient_by_block(rows, *weight)?
            } else {
                let leaves = self.theta.leaves();
                let loss = self.loss(rows, &leaves)? * *weight;
                self.stopwatch.lap(StepPhase::Forward);
                let mut gradients = loss.backward();
                (self.theta.gradient(&leaves, &mut gradients), loss.inner())
            };
            self.stopwatch.lap(StepPhase::Backward);
            sum = Some(match sum {
                None => (gradient, loss),
                Some((g, l)) => (g + gradient, l + loss),
            });
        }
        let none = || {
            (
                self.theta.values().zeros_like(),
                Tensor::zeros([1], self.plm.device()),
            )
        };
        Ok(sum.unwrap_or_else(none))
    }

    /// The loss of training rows, `[1]`, without tracking gradients.
    ///
    /// # Errors
    /// If the model does not support the objective.
    pub fn forward(&self, rows: &[usize]) -> Result<Tensor<1>, TrainError> {
        self.loss(rows, &self.theta.constants())
    }

    /// Mean loss of training rows, `[1]`: over the rows, or over the tokens of the correct answers.
    fn loss(&self, rows: &[usize], leaves: &Leaves) -> Result<Tensor<1>, TrainError> {
        let tap = self.theta.hooks(leaves);
        match self.spec.objective {
            Objective::ClassHead => {
                let texts: Vec<&Encoded> = self.texts(rows).collect();
                let batch = self.plm.batch(&texts);
                let states = self.plm.states(&batch, &tap);
                Ok(self.class_loss(&batch, states, rows, &tap))
            }
            Objective::LabelWords => {
                let asked: Vec<Prompted> = self.asked_of(rows).collect();
                let asked: Vec<&Prompted> = asked.iter().collect();
                Ok(self.plm.target_logits(&asked, &tap)?.losses().mean())
            }
        }
    }

    /// Mean cross-entropy of training rows' classes, `[1]`, from their states.
    pub(crate) fn class_loss(
        &self,
        batch: &Batch,
        states: Tensor<3>,
        rows: &[usize],
        tap: &DeltaHooks<'_>,
    ) -> Tensor<1> {
        let pooling = self.spec.head.pooling;
        let logits = tap.head(self.plm.pool(batch, states, pooling, tap));
        let labels: Vec<i32> = self.labels(rows).collect();
        let labels = TensorData::new(labels, [rows.len()]);
        let labels = Tensor::<1, Int>::from_data(labels, (self.plm.device(), DType::I32));
        apet_kernels::cross_entropy(logits, labels).mean()
    }

    /// Rows of the run's first batches.
    pub fn first_batches(&self, count: usize) -> Vec<Vec<usize>> {
        let mut sampler = self.sampler();
        let batches = std::iter::repeat_with(|| sampler.batch(self.spec.train.batch_size));
        batches.take(count).collect()
    }

    /// The order of training rows, from the seed alone.
    pub(crate) fn sampler(&self) -> Sampler {
        let lengths = self.train.texts.iter().map(|text| text.ids.len());
        let stream = Stream::new("batches", self.spec.seeds.batches);
        Sampler::new(stream, lengths.collect(), self.spec.train.group_by_length)
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

/// Batches of which the rows are sorted by length together.
const WINDOW: usize = 50;

/// Training rows without end, shuffled anew each epoch; a batch may cross into the next.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    stream: Stream,
    /// Of every row.
    lengths: Vec<usize>,
    grouped: bool,
    order: Vec<usize>,
}

impl Sampler {
    /// Rows by their lengths; those of a batch of like length where `grouped`.
    pub(crate) fn new(stream: Stream, lengths: Vec<usize>, grouped: bool) -> Self {
        Self {
            stream,
            lengths,
            grouped,
            order: Vec::new(),
        }
    }

    /// Every row once in a new order, the next ones last.
    fn shuffle(&mut self, size: usize) {
        self.order = (0..self.lengths.len()).rev().collect();
        self.stream.shuffle(&mut self.order);
        if !self.grouped {
            return;
        }
        for window in self.order.chunks_mut(WINDOW * size) {
            window.sort_by_key(|&row| self.lengths[row]);
        }
        // The batch that is not full stays the last of its epoch, which is the first here.
        let rest = self.order.len() % size;
        let (rest, full) = self.order.split_at(rest);
        let mut batches: Vec<&[usize]> = full.chunks(size).collect();
        self.stream.shuffle(&mut batches);
        let order = rest.iter().chain(batches.into_iter().flatten());
        self.order = order.copied().collect();
    }

    pub(crate) fn batch(&mut self, size: usize) -> Vec<usize> {
        let mut batch = Vec::with_capacity(size);
        while batch.len() < size {
            if self.order.is_empty() {
                self.shuffle(size);
            }
            batch.extend(self.order.pop());
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(grouped: bool) -> Sampler {
        let mut stream = Stream::new("lengths", 0);
        let lengths = std::iter::repeat_with(|| 3 + stream.below(60) as usize);
        Sampler::new(
            Stream::new("batches", 1),
            lengths.take(1003).collect(),
            grouped,
        )
    }

    /// Tokens of an epoch's batches, padding counted, and its rows.
    fn epoch(sampler: &mut Sampler) -> (usize, Vec<usize>) {
        let mut rows = Vec::new();
        let mut tokens = 0;
        for _ in 0..1003 / 8 {
            let batch = sampler.batch(8);
            let longest = batch.iter().map(|&row| sampler.lengths[row]).max();
            tokens += 8 * longest.unwrap_or_default();
            rows.extend(batch);
        }
        (tokens, rows)
    }

    #[test]
    fn rows_of_like_length_are_padded_less_and_come_once_an_epoch() {
        let (mut plain, mut grouped) = (sampler(false), sampler(true));
        let whole: usize = plain.lengths.iter().sum();
        let (before, _) = epoch(&mut plain);
        let (after, mut rows) = epoch(&mut grouped);
        assert!(after < before * 2 / 3, "{after} tokens beside {before}");
        assert!(after < whole * 21 / 20, "{after} tokens of {whole}");
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 1000, "no row came twice");
        // Three are left of this epoch: the next batch has them, and five of the next one.
        let next = grouped.batch(8);
        assert!(next[..3].iter().all(|row| !rows.contains(row)));
    }
}
