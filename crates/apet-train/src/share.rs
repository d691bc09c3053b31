//! Data parallelism: some of a batch's rows go to helpers, which make their part of theta's gradient at the
//! same time. Theta is small, so little more than its values and its gradient goes to and fro.

use apet_record::Objective;
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};
use serde::{Deserialize, Serialize};

use crate::{StepResult, TrainError, Trainer, spent::Doing, trainer::read};

/// Training rows of one forward pass, and what their mean loss counts in that of the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Numbers of training rows.
    pub rows: Vec<usize>,
    /// All shares of a step together have 1.
    pub weight: f64,
}

/// What a helper gives back, summed over its shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Help {
    /// Theta's gradient, `[parameters]`.
    pub gradient: Vec<f32>,
    /// The loss.
    pub loss: f32,
}

/// Others with the same model, task and spec. Alone, unless said otherwise.
///
/// Errors are one sentence for the user; the run ends with it.
#[expect(
    async_fn_in_trait,
    reason = "a run stays on one thread or event loop: cubecl orders GPU work by thread"
)]
pub trait Helpers {
    /// How many there are.
    fn count(&self) -> usize {
        0
    }

    /// Lets each begin with its shares, with these values of theta.
    ///
    /// # Errors
    /// When one can not be asked.
    fn ask(&mut self, _values: &[f32], _shares: Vec<Vec<Share>>) -> Result<(), String> {
        Ok(())
    }

    /// What they found, in their order.
    ///
    /// # Errors
    /// When one is gone.
    async fn answers(&mut self) -> Result<Vec<Help>, String> {
        Ok(Vec::new())
    }
}

/// No helpers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Helpers for Alone {}

impl Trainer<'_> {
    /// As [`Trainer::step`], with helpers.
    ///
    /// # Errors
    /// As there, or when a helper is gone.
    pub async fn step_with<H: Helpers>(
        &mut self,
        helpers: &mut H,
        batches: &[Vec<usize>],
        rate: f64,
    ) -> Result<StepResult, TrainError> {
        self.watch.did(Doing::Other);
        let (gradient, loss) = self.gradient_with(helpers, batches).await?;
        Ok(self.update(gradient, loss, batches, rate))
    }

    /// As [`Trainer::gradient`], with helpers.
    ///
    /// # Errors
    /// As there, or when a helper is gone.
    pub async fn gradient_with<H: Helpers>(
        &self,
        helpers: &mut H,
        batches: &[Vec<usize>],
    ) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        if helpers.count() == 0 {
            return self.gradient(batches);
        }
        let mut shares = self.shares(batches, helpers.count() + 1);
        let own = shares.pop().unwrap_or_default();
        let values = read(self.theta.values()).await?;
        helpers.ask(&values, shares).map_err(TrainError::Device)?;
        self.watch.did(Doing::ReadBack);
        let (mut gradient, mut loss) = self.gradient_of(&own)?;
        for answer in helpers.answers().await.map_err(TrainError::Device)? {
            gradient = gradient + self.tensor(answer.gradient);
            loss = loss + self.tensor(vec![answer.loss]);
        }
        self.watch.did(Doing::Helpers);
        Ok((gradient, loss))
    }

    /// What a helper does: its part of the gradient, with other values of theta.
    ///
    /// # Errors
    /// When the values are not theta's, a row is none of the task's, or the device fails.
    pub async fn help(&mut self, values: Vec<f32>, shares: &[Share]) -> Result<Help, TrainError> {
        let (found, wanted) = (values.len(), self.theta.layout().len());
        let rows = shares.iter().flat_map(|share| &share.rows);
        if found != wanted || rows.copied().any(|row| row >= self.rows()) {
            let problem = format!("a helper was asked for another run: {found} values of {wanted}");
            return Err(TrainError::Host(problem));
        }
        self.set_values(self.tensor(values));
        let (gradient, loss) = self.gradient_of(shares)?;
        let mut both = read(Tensor::cat(vec![gradient, loss], 0)).await?;
        let loss = both.pop().unwrap_or(f32::NAN);
        Ok(Help {
            gradient: both,
            loss,
        })
    }

    /// Every batch's rows in so many parts of like size.
    fn shares(&self, batches: &[Vec<usize>], parts: usize) -> Vec<Vec<Share>> {
        let mut shares = vec![Vec::new(); parts];
        for rows in batches {
            let all = self.scored(rows) * batches.len() as f64;
            for (part, share) in shares.iter_mut().enumerate() {
                let from = |part: usize| rows.len() * part / parts;
                let own = &rows[from(part)..from(part + 1)];
                if !own.is_empty() {
                    share.push(Share {
                        rows: own.to_vec(),
                        weight: self.scored(own) / all,
                    });
                }
            }
        }
        shares
    }

    /// What a mean loss of these rows is a mean over: the rows, or the tokens of their labels' words.
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
