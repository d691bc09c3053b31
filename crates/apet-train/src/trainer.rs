//! The step: batch, forward, loss, gradients of theta, update.

use apet_plm::{Batch, Encoded, Kind, Plm, PlmError, Prompted};
use apet_record::{Objective, RunSpec, SpecError, Stream};
use apet_tasks::{Example, Task, accuracy};
use apet_theta::{Leaves, Placed, Theta, Tuned};
use burn::{
    Tensor,
    tensor::{DType, Int, TensorData},
};

use crate::{AdamW, Share};

/// Rows of an evaluation batch: no gradients are kept, so more fit than in training.
pub(crate) const EVAL_ROWS: usize = 32;

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
    /// Mean cross-entropy, nats: of the rows, or of the tokens of their labels' words.
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
    fn new(plm: &Plm, task: &Task, examples: &[Example], spec: &RunSpec) -> Result<Self, PlmError> {
        let most = spec.task.max_length;
        let texts = match spec.objective {
            Objective::ClassHead => {
                let texts = examples
                    .iter()
                    .map(|e| (e.text.as_str(), e.pair.as_deref()));
                plm.tokenizer().encode(texts, most)?
            }
            Objective::LabelWords => {
                let prompts: Vec<String> = examples.iter().map(|e| task.prompt(e)).collect();
                let texts = prompts.iter().map(|prompt| (prompt.as_str(), None));
                let mut texts = plm.tokenizer().encode(texts, usize::MAX)?;
                // Cut at the beginning: a prompt's end is what asks.
                for text in &mut texts {
                    let over = text.ids.len().saturating_sub(most);
                    text.ids.drain(..over);
                    text.types.drain(..over);
                }
                texts
            }
        };
        Ok(Self {
            texts,
            labels: examples.iter().map(|e| e.label).collect(),
        })
    }
}

/// A model, a task, theta and the optimizer: everything a step needs.
#[derive(Debug)]
pub struct Trainer<'a> {
    plm: &'a Plm,
    spec: RunSpec,
    /// Token ids of each label's word and the end behind it.
    words: Vec<Vec<u32>>,
    train: Rows,
    pub(crate) dev: Rows,
    pub(crate) test: Rows,
    pub(crate) theta: Theta,
    pub(crate) optimizer: AdamW,
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
        let rows = |examples: &[Example]| Rows::new(plm, task, examples, spec);
        let [train, dev, test] = [&task.train, &task.dev, &task.test].map(|of| rows(of));
        Self::with(plm, spec, theta, words(plm, task)?, [train?, dev?, test?])
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
        let rows = [Rows { texts, labels }, none(), none()];
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
            train,
            dev,
            test,
            optimizer: AdamW::new(&spec.optimizer, theta.weights(), plm.device()),
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
    ///
    /// # Errors
    /// When the model can not be asked for the rows' labels.
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
        StepResult {
            loss,
            grad_norm,
            tokens,
        }
    }

    /// Training rows.
    pub(crate) fn rows(&self) -> usize {
        self.train.labels.len()
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
        rows.iter().map(|&row| self.train.labels[row] as i32)
    }

    /// Training rows' prompts, with their labels' words behind them.
    pub(crate) fn asked_of(&self, rows: &[usize]) -> impl Iterator<Item = Prompted> {
        rows.iter()
            .map(|&row| self.asked(&self.train, row, self.train.labels[row]))
    }

    /// Theta's gradient `[parameters]` and the loss `[1]`, means over the batches.
    ///
    /// # Errors
    /// When the model can not be asked for the rows' labels.
    pub fn gradient(&self, batches: &[Vec<usize>]) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        let weight = 1.0 / batches.len() as f64;
        let share = |rows: &Vec<usize>| Share {
            rows: rows.clone(),
            weight,
        };
        self.gradient_of(&batches.iter().map(share).collect::<Vec<_>>())
    }

    /// Theta's gradient `[parameters]` and the loss `[1]`, sums over shares.
    ///
    /// # Errors
    /// When the model can not be asked for the rows' labels.
    pub(crate) fn gradient_of(
        &self,
        shares: &[Share],
    ) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        let mut sum: Option<(Tensor<1>, Tensor<1>)> = None;
        for Share { rows, weight } in shares {
            let (gradient, loss) = if self.spec.train.gradient_checkpointing {
                self.gradient_by_block(rows, *weight)?
            } else {
                let leaves = self.theta.leaves();
                let loss = self.loss(rows, &leaves)? * *weight;
                let mut gradients = loss.backward();
                (self.theta.gradient(&leaves, &mut gradients), loss.inner())
            };
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

    /// The loss of training rows, `[1]`, without what its gradient would need.
    ///
    /// # Errors
    /// When the model can not be asked for the rows' labels.
    pub fn forward(&self, rows: &[usize]) -> Result<Tensor<1>, TrainError> {
        self.loss(rows, &self.theta.constants())
    }

    /// Mean loss of training rows, `[1]`: over the rows, or over the tokens of their labels' words.
    fn loss(&self, rows: &[usize], leaves: &Leaves) -> Result<Tensor<1>, TrainError> {
        let tap = self.theta.tap(leaves);
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
        tap: &Tuned<'_>,
    ) -> Tensor<1> {
        let pooling = self.spec.head.pooling;
        let logits = tap.head(self.plm.pool(batch, states, pooling, tap));
        let labels: Vec<i32> = self.labels(rows).collect();
        let labels = TensorData::new(labels, [rows.len()]);
        let labels = Tensor::<1, Int>::from_data(labels, (self.plm.device(), DType::I32));
        apet_kernels::cross_entropy(logits, labels).mean()
    }

    /// The classification head's scores, `[rows, classes]`.
    fn head_logits(&self, from: &Rows, rows: &[usize], leaves: &Leaves) -> Tensor<2> {
        let texts: Vec<&Encoded> = rows.iter().map(|&r| &from.texts[r]).collect();
        let batch = self.plm.batch(&texts);
        let tap = self.theta.tap(leaves);
        let states = self.plm.states(&batch, &tap);
        tap.head(self.plm.pool(&batch, states, self.spec.head.pooling, &tap))
    }

    /// A row's prompt, and a label's word behind it.
    fn asked(&self, from: &Rows, row: usize, label: usize) -> Prompted {
        Prompted {
            source: from.texts[row].ids.clone(),
            target: self.words[label].clone(),
        }
    }

    /// Scores of every class, `[rows, classes]`: the head's, or log-likelihoods of the
    /// labels' words. Rows are taken some at a time, in the given order.
    async fn class_scores(&self, from: &Rows, rows: &[usize]) -> Result<Vec<f32>, TrainError> {
        let constants = self.theta.constants();
        match self.spec.objective {
            Objective::ClassHead => {
                let parts = rows.chunks(EVAL_ROWS);
                let parts = parts.map(|part| self.head_logits(from, part, &constants));
                read(Tensor::cat(parts.collect(), 0)).await
            }
            Objective::LabelWords => {
                let tap = self.theta.tap(&constants);
                let mut scores = Vec::with_capacity(rows.len() * self.words.len());
                for part in rows.chunks((EVAL_ROWS / self.words.len()).max(1)) {
                    let labels = 0..self.words.len();
                    let asked: Vec<Prompted> = part
                        .iter()
                        .flat_map(|&row| labels.clone().map(move |l| self.asked(from, row, l)))
                        .collect();
                    let asked: Vec<&Prompted> = asked.iter().collect();
                    let likely = self.plm.log_likelihoods(&asked, &tap).await?;
                    scores.extend(likely.into_iter().map(|score| score as f32));
                }
                Ok(scores)
            }
        }
    }

    /// Scores theta's present values on rows.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) async fn score(&self, rows: &Rows) -> Result<Scores, TrainError> {
        // Sequences of like length share a batch: less padding, same scores.
        let mut order: Vec<usize> = (0..rows.labels.len()).collect();
        order.sort_by_key(|&r| rows.texts[r].ids.len());
        let scores = self.class_scores(rows, &order).await?;
        let gold: Vec<usize> = order.iter().map(|&row| rows.labels[row]).collect();
        let (mut predicted, mut loss, mut count) = (Vec::with_capacity(gold.len()), 0f64, 0);
        for (scores, &label) in scores.chunks_exact(self.words.len()).zip(&gold) {
            let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // None where a score is no number: then no answer is right.
            let answer = scores.iter().position(|&s| s == best);
            predicted.push(answer.unwrap_or(usize::MAX));
            match self.spec.objective {
                Objective::ClassHead => {
                    let sum: f64 = scores.iter().map(|&s| f64::from(s - best).exp()).sum();
                    loss += sum.ln() - f64::from(scores[label] - best);
                    count += 1;
                }
                Objective::LabelWords => {
                    loss -= f64::from(scores[label]);
                    count += self.words[label].len();
                }
            }
        }
        Ok(Scores {
            accuracy: accuracy(&predicted, &gold),
            loss: loss / count.max(1) as f64,
            rows: gold.len(),
        })
    }

    /// Class scores of training rows with theta's present values, `[rows, classes]`.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn predict(&self, rows: &[usize]) -> Result<Vec<f32>, TrainError> {
        self.class_scores(&self.train, rows).await
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

/// The labels' words, each with the model's end behind it. A decoder goes on with a text, so
/// there a word begins with its space.
fn words(plm: &Plm, task: &Task) -> Result<Vec<Vec<u32>>, PlmError> {
    let space = if plm.kind() == Kind::Decoder { " " } else { "" };
    let word = |label: &String| {
        let mut ids = plm.tokenizer().plain(&format!("{space}{label}"))?;
        ids.extend(plm.ends().first());
        Ok(ids)
    };
    task.labels.iter().map(word).collect()
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
