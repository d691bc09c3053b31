//! ROUGE (Lin, 2004) as the package rouge-score has it, with stemming: summaries are scored with it.

use std::collections::HashMap;

use super::porter;

/// What a prediction and its target share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rouge {
    /// Of the prediction.
    pub precision: f64,
    /// Of the target.
    pub recall: f64,
}

impl Rouge {
    fn of(shared: usize, predicted: usize, target: usize) -> Self {
        Self {
            precision: shared as f64 / predicted.max(1) as f64,
            recall: shared as f64 / target.max(1) as f64,
        }
    }

    /// Their harmonic mean.
    pub fn f(self) -> f64 {
        let sum = self.precision + self.recall;
        if sum > 0.0 {
            2.0 * self.precision * self.recall / sum
        } else {
            0.0
        }
    }
}

/// ROUGE-n: shared sequences of n words, each as often as both have it.
pub fn n(prediction: &str, target: &str, n: usize) -> Rouge {
    let (prediction, target) = (words(prediction), words(target));
    let mut left: HashMap<&[String], usize> = HashMap::new();
    for gram in target.windows(n.max(1)) {
        *left.entry(gram).or_default() += 1;
    }
    let shared = prediction
        .windows(n.max(1))
        .filter(|gram| match left.get_mut(*gram) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        });
    let shared = shared.count();
    let grams = |words: &[String]| (words.len() + 1).saturating_sub(n.max(1));
    Rouge::of(shared, grams(&prediction), grams(&target))
}

/// ROUGE-L: the longest common subsequence of words.
pub fn l(prediction: &str, target: &str) -> Rouge {
    let (prediction, target) = (words(prediction), words(target));
    // The lengths for all beginnings of the prediction, one target word after another.
    let mut lengths = vec![0; prediction.len() + 1];
    for word in &target {
        let mut before = 0;
        for (at, other) in prediction.iter().enumerate() {
            let above = lengths[at + 1];
            lengths[at + 1] = match word == other {
                true => before + 1,
                false => above.max(lengths[at]),
            };
            before = above;
        }
    }
    Rouge::of(lengths[prediction.len()], prediction.len(), target.len())
}

/// Runs of the letters a to z and digits, of small letters; those of more than three are stemmed.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| match word.len() > 3 {
            true => porter::stem(word),
            false => word.to_owned(),
        })
        .collect()
}
