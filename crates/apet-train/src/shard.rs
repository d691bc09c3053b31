//! Data parallelism: a step's rows are split into shards, and other workers compute the gradients of their shards
//! at the same time. Only theta's values and its gradient are exchanged, and both are small.

use apet_record::Objective;
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};
use serde::{Deserialize, Serialize};

use crate::{StepResult, TrainError, Trainer, timings::StepPhase, trainer::read};

/// Training rows of one forward pass, and the weight of their mean loss in the step's loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Indices of training rows.
    pub rows: Vec<usize>,
    /// The weights of all shards of a step add up to 1.
    pub weight: f64,
}

/// The gradient of a worker's shards, summed over them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardGradient {
    /// Theta's gradient, `[parameters]`.
    pub gradient: Vec<f32>,
    /// The weighted loss, nats.
    pub loss: f32,
}

/// Other workers that hold the same model, task and spec. By default there are none.
///
/// An error is one sentence for the user and ends the run.
#[expect(
    async_fn_in_trait,
    reason = "a run stays on one thread or event loop: cubecl orders GPU work by thread"
)]
pub trait GradientWorkers {
    /// The number of workers.
    fn count(&self) -> usize {
        0
    }

    /// Sends every worker its shards and theta's values, and returns without waiting.
    ///
    /// # Errors
    /// When a worker cannot be reached.
    fn send(&mut self, _values: &[f32], _shards: Vec<Vec<Shard>>) -> Result<(), String> {
        Ok(())
    }

    /// The workers' gradients, in the workers' order.
    ///
    /// # Errors
    /// When a worker is gone.
    async fn receive(&mut self) -> Result<Vec<ShardGradient>, String> {
        Ok(Vec::new())
    }
}

/// No other workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWorkers;

impl GradientWorkers for NoWorkers {}

impl Trainer<'_> {
    /// As [`Trainer::step`], with other workers.
    ///
    /// # Errors
    /// As there, or when a worker is gone.
    pub async fn step_with<H: GradientWorkers>(
        &mut self,
        workers: &mut H,
        batches: &[Vec<usize>],
        rate: f64,
    ) -> Result<StepResult, TrainError> {
        self.stopwatch.lap(StepPhase::Other);
        let (gradient, loss) = self.gradient_with(workers, batches).await?;
        Ok(self.update(gradient, loss, batches, rate))
    }

    /// As [`Trainer::gradient`], with other workers.
    ///
    /// # Errors
    /// As there, or when a worker is gone.
    pub async fn gradient_with<H: GradientWorkers>(
        &self,
        workers: &mut H,
        batches: &[Vec<usize>],
    ) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        if workers.count() == 0 {
            return self.gradient(batches);
        }
        let mut shards = self.shards(batches, workers.count() + 1);
        let own = shards.pop().unwrap_or_default();
        let values = read(self.theta.values()).await?;
        workers.send(&values, shards).map_err(TrainError::Device)?;
        self.stopwatch.lap(StepPhase::ReadBack);
        let (mut gradient, mut loss) = self.gradient_of(&own)?;
        for part in workers.receive().await.map_err(TrainError::Device)? {
            gradient = gradient + self.tensor(part.gradient);
            loss = loss + self.tensor(vec![part.loss]);
        }
        self.stopwatch.lap(StepPhase::Workers);
        Ok((gradient, loss))
    }

    /// A worker's side of a step: sets theta to `values` and computes the gradient of its shards.
    ///
    /// # Errors
    /// When the number of values or a row index does not match the run, or the device fails.
    pub async fn shard_gradient(
        &mut self,
        values: Vec<f32>,
        shards: &[Shard],
    ) -> Result<ShardGradient, TrainError> {
        let (found, wanted) = (values.len(), self.theta.layout().len());
        let rows = shards.iter().flat_map(|shard| &shard.rows);
        if found != wanted || rows.copied().any(|row| row >= self.rows()) {
            let problem = format!(
                "a worker was sent a step of another run: found {found} values, expected {wanted}"
            );
            return Err(TrainError::Host(problem));
        }
        self.set_values(self.tensor(values));
        let (gradient, loss) = self.gradient_of(shards)?;
        let mut both = read(Tensor::cat(vec![gradient, loss], 0)).await?;
        let loss = both.pop().unwrap_or(f32::NAN);
        Ok(ShardGradient {
            gradient: both,
            loss,
        })
    }

    /// Splits the rows of every batch into `parts` of nearly equal size.
    fn shards(&self, batches: &[Vec<usize>], parts: usize) -> Vec<Vec<Shard>> {
        let mut shards = vec![Vec::new(); parts];
        for rows in batches {
            let all = self.scored(rows) * batches.len() as f64;
            for (part, shard) in shards.iter_mut().enumerate() {
                let from = |part: usize| rows.len() * part / parts;
                let own = &rows[from(part)..from(part + 1)];
                if !own.is_empty() {
                    shard.push(Shard {
                        rows: own.to_vec(),
                        weight: self.scored(own) / all,
                    });
                }
            }
        }
        shards
    }

    /// The number of terms in the mean loss of these rows: rows, or tokens of their label words.
    fn scored(&self, rows: &[usize]) -> f64 {
        match self.spec().objective {
            Objective::ClassHead => rows.len() as f64,
            Objective::LabelWords => {
                let tokens = self.asked_of(rows).map(|asked| asked.target.len());
                tokens.sum::<usize>() as f64
            }
        }
    }

    fn tensor(&self, values: Vec<f32>) -> Tensor<1> {
        let size = values.len();
        let data = TensorData::new(values, [size]);
        Tensor::from_data(data, (self.plm().device(), DType::F32))
    }
}
