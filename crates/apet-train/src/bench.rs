//! What a step takes: one measurement for terminals and tabs.

use apet_plm::{Encoded, Plm};
use apet_record::{RunSpec, Stream};
use serde::Serialize;

use crate::{GradientWorkers, TrainError, Trainer, trainer::read};

/// Milliseconds of the same work, done several times, and what the losses were.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// The first step, with its compilation of kernels.
    pub first_step_ms: f64,
    /// Forward passes, without what a gradient would need.
    pub forward_ms: Vec<f64>,
    /// Forward passes with theta's gradient.
    pub gradient_ms: Vec<f64>,
    /// Whole steps.
    pub step_ms: Vec<f64>,
    /// Of every step, the first and the warm-up included.
    pub losses: Vec<f32>,
}

/// What has just been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A step before the measured ones.
    Warmup,
    /// A forward pass.
    Forward,
    /// A forward pass with theta's gradient.
    Gradient,
    /// A whole step.
    Step,
}

/// `warmup` steps on the first batch-ful of training rows, then `train.steps` times a forward pass, a gradient
/// and a step, each with a read, which waits for the device. `now` is in milliseconds; `done`
/// hears of each part.
///
/// # Errors
/// When the device fails.
pub async fn measure<H: GradientWorkers>(
    trainer: &mut Trainer<'_>,
    workers: &mut H,
    warmup: usize,
    now: impl Fn() -> f64,
    mut done: impl FnMut(Part),
) -> Result<Measured, TrainError> {
    let train = trainer.spec().train.clone();
    let rate = trainer.spec().optimizer.learning_rate;
    let batch = [(0..train.batch_size).collect::<Vec<_>>()];
    let mut found = Measured::default();
    for number in 0..warmup.max(1) {
        let begun = now();
        let loss = trainer.step_with(workers, &batch, rate).await?.loss;
        found.losses.extend(read(loss).await?);
        if number == 0 {
            found.first_step_ms = now() - begun;
        }
        done(Part::Warmup);
    }
    for _ in 0..train.steps {
        let begun = now();
        read(trainer.forward(&batch[0])?).await?;
        found.forward_ms.push(now() - begun);
        done(Part::Forward);
        let begun = now();
        let (gradient, _) = trainer.gradient_with(workers, &batch).await?;
        read(gradient.slice(0..1)).await?;
        found.gradient_ms.push(now() - begun);
        done(Part::Gradient);
        let begun = now();
        let loss = trainer.step_with(workers, &batch, rate).await?.loss;
        found.losses.extend(read(loss).await?);
        found.step_ms.push(now() - begun);
        done(Part::Step);
    }
    Ok(found)
}

/// A batch of rows of random tokens, as long as the spec has them, in turn of each class.
pub fn random_rows(plm: &Plm, spec: &RunSpec, classes: usize) -> Vec<(Encoded, usize)> {
    let mut stream = Stream::new("bench", spec.seeds.batches);
    let vocabulary = plm.architecture().config.vocabulary() as u64;
    let mut row = |at: usize| {
        let ids = std::iter::repeat_with(|| stream.below(vocabulary) as u32);
        let encoded = Encoded {
            ids: ids.take(spec.task.max_length).collect(),
            types: vec![0; spec.task.max_length],
        };
        (encoded, at % classes)
    };
    (0..spec.train.batch_size).map(&mut row).collect()
}
