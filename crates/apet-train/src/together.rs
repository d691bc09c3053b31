//! Several runs' steps in one pass over one base: seeds, placements, methods of like shape.

use apet_plm::Encoded;
use apet_record::{Objective, SpecError};
use apet_theta::{Leaves, Many, ManyTuned, Theta};
use burn::{
    Tensor,
    tensor::{DType, Int, TensorData},
};

use crate::{StepResult, TrainError, Trainer};

/// Runs that take their steps together. Each has its own theta, optimizer and batches; the
/// model, the objective and the rows of a batch are the same.
#[derive(Debug)]
pub struct Together<'t, 'p> {
    trainers: Vec<&'t mut Trainer<'p>>,
    many: Many,
}

impl<'t, 'p> Together<'t, 'p> {
    /// Joins runs.
    ///
    /// # Errors
    /// Names what differs between them, where their steps can not be one pass.
    pub fn new(trainers: Vec<&'t mut Trainer<'p>>) -> Result<Self, TrainError> {
        let refuse = |field: &str, problem: String| {
            Err(TrainError::Spec(SpecError {
                field: field.into(),
                problem,
            }))
        };
        let first = trainers.first().map(|trainer| trainer.spec().clone());
        let Some(first) = first else {
            return refuse("together", "found no run, expected at least one".into());
        };
        for trainer in &trainers {
            let spec = trainer.spec();
            let differs = [
                ("model", spec.model != first.model),
                ("objective", spec.objective != first.objective),
                ("head", spec.head != first.head),
                (
                    "train.batch_size",
                    spec.train.batch_size != first.train.batch_size,
                ),
                (
                    "train.accumulation",
                    spec.train.accumulation != first.train.accumulation,
                ),
            ];
            if let Some((field, _)) = differs.iter().find(|(_, differs)| *differs) {
                return refuse(field, "differs between the runs, expected the same".into());
            }
        }
        let thetas: Vec<&Theta> = trainers.iter().map(|trainer| trainer.theta()).collect();
        let plm = trainers[0].plm();
        let many = match Many::new(&thetas, plm.architecture(), plm.device()) {
            Ok(many) => many,
            Err(e) => return refuse("method", e.to_string()),
        };
        Ok(Self { trainers, many })
    }

    /// One optimizer step of every run; for each its rows by accumulated batch, and its rate.
    ///
    /// # Errors
    /// When the model can not be asked for the rows' labels.
    pub fn step(
        &mut self,
        batches: &[Vec<Vec<usize>>],
        rates: &[f64],
    ) -> Result<Vec<StepResult>, TrainError> {
        let gradients = self.gradients(batches)?;
        let results = gradients.into_iter().zip(&mut self.trainers);
        let results = results.zip(batches.iter().zip(rates));
        Ok(results
            .map(|(((gradient, loss), trainer), (rows, &rate))| {
                trainer.update(gradient, loss, rows, rate)
            })
            .collect())
    }

    /// Every run's gradient `[parameters]` and loss `[1]`.
    ///
    /// # Errors
    /// When the model can not be asked for the rows' labels.
    pub fn gradients(
        &self,
        batches: &[Vec<Vec<usize>>],
    ) -> Result<Vec<(Tensor<1>, Tensor<1>)>, TrainError> {
        let parts = batches.first().map_or(0, Vec::len);
        let share = 1.0 / parts.max(1) as f64;
        let thetas: Vec<&Theta> = self
            .trainers
            .iter()
            .map(|trainer| trainer.theta())
            .collect();
        let mut sums: Vec<Option<(Tensor<1>, Tensor<1>)>> = vec![None; thetas.len()];
        for part in 0..parts {
            let rows: Vec<&[usize]> = batches.iter().map(|of| &of[part][..]).collect();
            let leaves: Vec<Leaves> = thetas.iter().map(|theta| theta.leaves()).collect();
            let tap = self.many.tap(&thetas, &leaves);
            let (losses, counts) = self.losses(&rows, &tap)?;
            // Each run's mean over its own rows or tokens.
            let weights = counts.iter().flat_map(|&count| {
                std::iter::repeat_n((share / count.max(1) as f64) as f32, count)
            });
            let weights: Vec<f32> = weights.collect();
            let size = weights.len();
            let device = self.trainers[0].plm().device();
            let data = TensorData::new(weights, [size]);
            let losses = losses * Tensor::from_data(data, (device, DType::F32));
            let mut gradients = losses.clone().sum().backward();
            let losses = losses.inner();
            let mut start = 0;
            for ((sum, theta), (leaves, count)) in
                sums.iter_mut().zip(&thetas).zip(leaves.iter().zip(counts))
            {
                let own = losses.clone().slice(start..start + count).sum();
                start += count;
                let gradient = theta.gradient(leaves, &mut gradients);
                *sum = Some(match sum.take() {
                    None => (gradient, own),
                    Some((g, l)) => (g + gradient, l + own),
                });
            }
        }
        Ok(sums.into_iter().flatten().collect())
    }

    /// Losses of every row (or target token) of every run, and how many each run has.
    fn losses(
        &self,
        rows: &[&[usize]],
        tap: &ManyTuned<'_>,
    ) -> Result<(Tensor<1>, Vec<usize>), TrainError> {
        let (plm, spec) = (self.trainers[0].plm(), self.trainers[0].spec());
        let own = || self.trainers.iter().zip(rows);
        match spec.objective {
            Objective::ClassHead => {
                let texts: Vec<&Encoded> = own().flat_map(|(t, rows)| t.texts(rows)).collect();
                let batch = plm.batch(&texts);
                let states = plm.states(&batch, tap);
                let logits = tap.head(plm.pool(&batch, states, spec.head.pooling, tap));
                let labels: Vec<i32> = own().flat_map(|(t, rows)| t.labels(rows)).collect();
                let labels = TensorData::new(labels, [texts.len()]);
                let labels = Tensor::<1, Int>::from_data(labels, (plm.device(), DType::I32));
                let counts = rows.iter().map(|rows| rows.len()).collect();
                Ok((apet_kernels::cross_entropy(logits, labels), counts))
            }
            Objective::LabelWords => {
                let asked: Vec<_> = own().flat_map(|(t, rows)| t.asked_of(rows)).collect();
                let scored = plm.target_logits(&asked.iter().collect::<Vec<_>>(), tap)?;
                let mut each = scored.counts.iter();
                let counts = rows.iter().map(|rows| each.by_ref().take(rows.len()).sum());
                let counts = counts.collect();
                Ok((scored.losses(), counts))
            }
        }
    }
}
