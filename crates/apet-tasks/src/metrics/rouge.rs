//! ROUGE (Lin, 2004) with stemming, equal to the package rouge-score. Scores summaries.

use super::{Overlap, porter, shared};

/// ROUGE-n: the overlap of n-grams (n at least 1).
pub fn n(prediction: &str, target: &str, n: usize) -> Overlap {
    let (prediction, target) = (words(prediction), words(target));
    let [prediction, target] = [&prediction, &target].map(|words| words.windows(n.max(1)));
    let shared = shared(prediction.clone(), target.clone());
    Overlap::from_counts(shared, prediction.len(), target.len())
}

/// ROUGE-L: the longest common subsequence of words.
pub fn l(prediction: &str, target: &str) -> Overlap {
    let (prediction, target) = (words(prediction), words(target));
    // Lengths for all prefixes of the prediction, one target word after another.
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

/// Lower-case runs of a to z and digits; runs longer than three characters are stemmed.
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
