//! ROUGE (Lin, 2004) as the package rouge-score has it, with stemming: summaries are scored with it.

use super::{Overlap, porter, shared};

/// ROUGE-n: shared sequences of n words (at least one), each as often as both have it.
pub fn n(prediction: &str, target: &str, n: usize) -> Overlap {
    let (prediction, target) = (words(prediction), words(target));
    let [prediction, target] = [&prediction, &target].map(|words| words.windows(n.max(1)));
    let shared = shared(prediction.clone(), target.clone());
    Overlap::from_counts(shared, prediction.len(), target.len())
}

/// ROUGE-L: the longest common subsequence of words.
pub fn l(prediction: &str, target: &str) -> Overlap {
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
    Overlap::from_counts(lengths[prediction.len()], prediction.len(), target.len())
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
