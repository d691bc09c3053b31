//! Metrics, equal to their reference implementations; from 0 to 1 (Matthews from -1).

use std::{collections::HashMap, hash::Hash};

use apet_record::Metric;

pub mod bleu;
mod porter;
pub mod rouge;
pub mod squad;

/// The overlap of a prediction and its target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    /// Share of the prediction.
    pub precision: f64,
    /// Share of the target.
    pub recall: f64,
}

impl Overlap {
    /// The overlap of a prediction with `predicted` and a target with `target` pieces, of which `shared` are common.
    fn from_counts(shared: usize, predicted: usize, target: usize) -> Self {
        Self {
            precision: shared as f64 / predicted.max(1) as f64,
            recall: shared as f64 / target.max(1) as f64,
        }
    }

    /// The harmonic mean of precision and recall; 0 without overlap.
    pub fn f(self) -> f64 {
        let sum = self.precision + self.recall;
        if sum > 0.0 {
            2.0 * self.precision * self.recall / sum
        } else {
            0.0
        }
    }
}

/// The size of the multiset intersection of the pieces of both.
fn shared<T: Eq + Hash>(
    prediction: impl Iterator<Item = T>,
    target: impl Iterator<Item = T>,
) -> usize {
    let mut left: HashMap<T, usize> = HashMap::new();
    for piece in target {
        *left.entry(piece).or_default() += 1;
    }
    prediction
        .filter(|piece| match left.get_mut(piece) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        })
        .count()
}

/// Scores predicted classes; a prediction that is not a class of the task is wrong. 0 for a metric of texts.
pub fn score_classes(metric: Metric, predicted: &[usize], gold: &[usize]) -> f64 {
    match metric {
        Metric::Accuracy => accuracy(predicted, gold),
        Metric::F1 => f1(predicted, gold, 1),
        Metric::Matthews => matthews(predicted, gold),
        Metric::SquadF1 | Metric::RougeL | Metric::Bleu => 0.0,
    }
}

/// Scores generated texts, each against all its correct texts. 0 for a metric of classes.
pub fn score_texts(metric: Metric, written: &[String], right: &[&[String]]) -> f64 {
    let mean = |score: &dyn Fn(&str, &[String]) -> f64| {
        let scores = written
            .iter()
            .zip(right)
            .map(|(text, right)| score(text, right));
        scores.sum::<f64>() / right.len().max(1) as f64
    };
    match metric {
        Metric::SquadF1 => mean(&squad::f1),
        Metric::RougeL => mean(&|text, right| {
            let each = right.iter().map(|right| rouge::l(text, right).f());
            each.fold(0.0, f64::max)
        }),
        Metric::Bleu => bleu::corpus(written, right),
        Metric::Accuracy | Metric::F1 | Metric::Matthews => 0.0,
    }
}

/// The share of rows of `gold` that `predicted` matches, 0 to 1; 0 without rows.
/// A row without a prediction is wrong.
pub fn accuracy(predicted: &[usize], gold: &[usize]) -> f64 {
    let right = predicted.iter().zip(gold).filter(|(p, g)| p == g).count();
    right as f64 / gold.len().max(1) as f64
}

/// F1 of one class (scikit-learn's `f1_score` with `pos_label`), with a prediction for every row; 0 if the class is neither predicted nor correct anywhere.
pub fn f1(predicted: &[usize], gold: &[usize], class: usize) -> f64 {
    let count = |of: &dyn Fn(bool, bool) -> bool| {
        let pairs = predicted.iter().zip(gold);
        pairs.filter(|&(&p, &g)| of(p == class, g == class)).count() as f64
    };
    let both = count(&|p, g| p && g);
    let either = count(&|p, _| p) + count(&|_, g| g);
    if either == 0.0 {
        0.0
    } else {
        2.0 * both / either
    }
}

/// Matthews' correlation coefficient of any number of classes (scikit-learn's `matthews_corrcoef`; Gorodkin,
/// 2004), with a prediction for every row; 0 if all predictions or all correct answers are one class.
pub fn matthews(predicted: &[usize], gold: &[usize]) -> f64 {
    let n = gold.len() as f64;
    let classes = predicted
        .iter()
        .chain(gold)
        .max()
        .map_or(0, |most| most + 1);
    let mut of = vec![[0f64; 2]; classes];
    for (&p, &g) in predicted.iter().zip(gold) {
        of[p][0] += 1.0;
        of[g][1] += 1.0;
    }
    let right = n * accuracy(predicted, gold);
    let sum = |a: usize, b: usize| of.iter().map(|of| of[a] * of[b]).sum::<f64>();
    let both = (n * n - sum(0, 0)) * (n * n - sum(1, 1));
    if both == 0.0 {
        0.0
    } else {
        (n * right - sum(0, 1)) / both.sqrt()
    }
}

#[cfg(test)]
mod tests;
