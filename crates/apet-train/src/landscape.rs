//! The loss around what a run found: along theta's own way from its beginning to its end, and along random directions as
//! long (Goodfellow et al., 2015; Li et al., 2018). How the paper looks at its claims, as an optimisation problem.

use apet_record::{Landscape, RunSpec, Stream};
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};

use crate::{TrainError, Trainer, trainer::read};

/// Places along theta's way: 0 is where it began, 1 where it ended.
pub const ALONG: [f64; 9] = [-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5];

/// Places along a random direction from theta's end, in lengths of its way.
pub const ASIDE: [f64; 4] = [-1.0, -0.5, 0.5, 1.0];

/// Maximum number of training rows over which the loss is averaged.
const ROWS: usize = 64;

/// Measures a loss along the line from `begin` to `end`, and along random directions from `end`. A direction is
/// normal numbers from `stream`, scaled to the length of the line.
///
/// # Errors
/// Those of the loss.
pub async fn landscape(
    mut loss: impl AsyncFnMut(Vec<f32>) -> Result<f64, TrainError>,
    begin: &[f32],
    end: &[f32],
    directions: usize,
    stream: &mut Stream,
) -> Result<Landscape, TrainError> {
    let way: Vec<f64> = begin
        .iter()
        .zip(end)
        .map(|(from, to)| f64::from(*to) - f64::from(*from))
        .collect();
    let length = |of: &[f64]| of.iter().map(|x| x * x).sum::<f64>().sqrt();
    let norm = length(&way);
    let moved = |from: &[f32], direction: &[f64], share: f64| -> Vec<f32> {
        let pairs = from.iter().zip(direction);
        pairs
            .map(|(&x, d)| (f64::from(x) + share * d) as f32)
            .collect()
    };
    let mut along = Vec::with_capacity(ALONG.len());
    for share in ALONG {
        along.push([share, loss(moved(begin, &way, share)).await?]);
    }
    let mut aside = Vec::with_capacity(directions);
    for _ in 0..directions {
        let mut direction: Vec<f64> = way.iter().map(|_| stream.normal()).collect();
        let scale = norm / length(&direction).max(f64::MIN_POSITIVE);
        direction.iter_mut().for_each(|x| *x *= scale);
        let mut of_direction = Vec::with_capacity(ASIDE.len());
        for share in ASIDE {
            of_direction.push([share, loss(moved(end, &direction, share)).await?]);
        }
        aside.push(of_direction);
    }
    Ok(Landscape {
        norm,
        init_to_best_loss: along,
        random_direction_loss: aside,
        ..Landscape::default()
    })
}

impl Trainer<'_> {
    /// The landscape around theta's present values, on the first training rows of the run.
    pub(crate) async fn landscape(
        &mut self,
        spec: &RunSpec,
        begin: Tensor<1>,
    ) -> Result<Landscape, TrainError> {
        let batches = self.first_batches(ROWS.div_ceil(spec.train.batch_size).max(1));
        let rows: usize = batches.iter().map(Vec::len).sum();
        let end = self.theta.values();
        let [from, to] = [read(begin).await?, read(end.clone()).await?];
        let mut stream = Stream::new("landscape", spec.seeds.init);
        let loss = async |values: Vec<f32>| {
            let size = values.len();
            let data = TensorData::new(values, [size]);
            self.theta
                .set_values(Tensor::from_data(data, (self.plm().device(), DType::F32)));
            let mut sum = 0.0;
            for batch in &batches {
                let mean = read(self.forward(batch)?).await?;
                sum += f64::from(mean.first().copied().unwrap_or(f32::NAN));
            }
            Ok(sum / batches.len() as f64)
        };
        let mut found = landscape(loss, &from, &to, spec.train.landscape, &mut stream).await?;
        self.theta.set_values(end);
        found.rows = rows;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    /// A quadratic `Σ a (x - c)² / 2`, whose loss everywhere is known.
    #[test]
    fn a_quadratic_is_measured_as_it_is() {
        let size = 400;
        let curvature = |at: usize| 0.5 + (at % 4) as f64;
        let [begin, end]: [Vec<f32>; 2] = [0.0, 1.0].map(|x| vec![x; size]);
        // Its minimum is where the way ends.
        let of = |values: &[f32]| -> f64 {
            let terms = values.iter().enumerate();
            terms
                .map(|(at, x)| curvature(at) * (f64::from(*x) - 1.0).powi(2) / 2.0)
                .sum()
        };
        let mut asked = 0;
        let loss = async |values: Vec<f32>| {
            asked += 1;
            Ok(of(&values))
        };
        let mut stream = Stream::new("test", 1);
        let found = block_on(landscape(loss, &begin, &end, 50, &mut stream)).unwrap();
        assert_eq!(asked, ALONG.len() + 50 * ASIDE.len());
        assert!((found.norm - 20.0).abs() < 1e-9);
        let whole = of(&begin);
        for [share, loss] in &found.init_to_best_loss {
            let expected = whole * (1.0 - share).powi(2);
            assert!((loss - expected).abs() < 1e-3 * whole, "{share}: {loss}");
        }
        // A direction's loss is the square of the place; over many directions that of the mean curvature.
        let mut at_one = Vec::new();
        for of_direction in &found.random_direction_loss {
            let [back, half_back, half, one] = &of_direction[..] else {
                unreachable!("four places");
            };
            assert!(
                (back[1] - one[1]).abs() < 1e-3 * one[1]
                    && (half_back[1] - half[1]).abs() < 1e-3 * half[1]
            );
            assert!((half[1] - one[1] / 4.0).abs() < 1e-3 * one[1]);
            at_one.push(one[1]);
        }
        let mean = at_one.iter().sum::<f64>() / at_one.len() as f64;
        // Mean curvature 2, length² 400.
        assert!((mean - 400.0).abs() < 10.0, "{mean}");
        let flat = found.rise().unwrap();
        assert!((flat - mean).abs() < 1e-6 * mean, "{flat}");
    }
}
