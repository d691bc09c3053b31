//! Exact match and F1 of SQuAD v1.1 (Rajpurkar et al., 2016; `evaluate-v1.1.py`). Scores NQ-Open.

use super::{Overlap, shared};

/// 1 if the answer equals a gold answer after normalisation, else 0.
pub fn exact(answer: &str, golds: &[String]) -> f64 {
    let answer = normalized(answer);
    let is_one = golds.iter().any(|gold| normalized(gold) == answer);
    f64::from(u8::from(is_one))
}

/// F1 of the words that the answer shares with a gold answer after normalisation; the best over the gold answers.
pub fn f1(answer: &str, golds: &[String]) -> f64 {
    let answer = normalized(answer);
    let with = |gold: &String| f1_with(&answer, &normalized(gold));
    golds.iter().map(with).fold(0.0, f64::max)
}

fn f1_with(answer: &str, gold: &str) -> f64 {
    let [answer, gold] = [answer, gold].map(|text| text.split_whitespace());
    let shared = shared(answer.clone(), gold.clone());
    Overlap::from_counts(shared, answer.count(), gold.count()).f()
}

/// Normalises a text: lower case, no ASCII punctuation, no a, an or the, single spaces.
pub fn normalized(text: &str) -> String {
    let text = text
        .to_lowercase()
        .replace(|c: char| c.is_ascii_punctuation(), "");
    let mut without = String::new();
    let mut word = String::new();
    // A word ends between an alphanumeric character and any other: “the” in typographic quotes is a word, too.
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() {
            word.push(c);
            continue;
        }
        match word.as_str() {
            "a" | "an" | "the" => without.push(' '),
            _ => without.push_str(&word),
        }
        word.clear();
        without.push(c);
    }
    without.split_whitespace().collect::<Vec<_>>().join(" ")
}
