//! Corpus BLEU (Papineni et al., 2002), equal to sacreBLEU: mteval-v13a tokens, n-grams up to four,
//! exponential smoothing, any number of references. Scores E2E NLG.

use std::collections::HashMap;

/// The largest n of the n-grams.
const ORDER: usize = 4;

/// BLEU of predictions against their references, from 0 to 1; 0 without overlap.
pub fn corpus(predictions: &[String], references: &[&[String]]) -> f64 {
    let (mut right, mut all) = ([0usize; ORDER], [0usize; ORDER]);
    let (mut length, mut wanted) = (0, 0);
    for (prediction, references) in predictions.iter().zip(references) {
        let prediction = words(prediction);
        let references: Vec<Vec<String>> = references.iter().map(|text| words(text)).collect();
        let apart = |words: &Vec<String>| (words.len().abs_diff(prediction.len()), words.len());
        length += prediction.len();
        wanted += references.iter().map(apart).min().map_or(0, |(_, len)| len);
        for order in 1..=ORDER {
            let mut most: HashMap<&[String], usize> = HashMap::new();
            for reference in &references {
                for (gram, count) in grams(reference, order) {
                    let of_all = most.entry(gram).or_default();
                    *of_all = count.max(*of_all);
                }
            }
            for (gram, count) in grams(&prediction, order) {
                all[order - 1] += count;
                right[order - 1] += count.min(most.get(gram).copied().unwrap_or(0));
            }
        }
    }
    if right == [0; ORDER] {
        return 0.0;
    }
    let (mut logs, mut smoothing) = (0.0, 1.0);
    for (&right, &all) in right.iter().zip(&all) {
        if all == 0 {
            return 0.0;
        }
        let share = match right {
            0 => {
                smoothing *= 2.0;
                1.0 / (smoothing * all as f64)
            }
            right => right as f64 / all as f64,
        };
        logs += share.ln();
    }
    let brevity = 1.0 - wanted as f64 / length as f64;
    (logs / ORDER as f64 + brevity.min(0.0)).exp()
}

/// Counts the n-grams of `order` words.
fn grams(tokens: &[String], order: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// Tokenises a line as mteval-v13a does for Western languages.
fn words(text: &str) -> Vec<String> {
    let text = text.trim_end().replace("<skipped>", "");
    let text = text.replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&");
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    let mut line = String::from(" ");
    for c in text.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => {
                line.extend([' ', c, ' ']);
            }
            _ => line.push(c),
        }
    }
    line.push(' ');
    // Full stops and commas are kept only within numbers; a dash after a digit is a word.
    let is_stop = |c: char| matches!(c, '.' | ',');
    let is_digit = |c: char| c.is_ascii_digit();
    let line = spaced(
        &line,
        |a, b| !is_digit(a) && is_stop(b),
        |a, b| [a, ' ', b, ' '],
    );
    let line = spaced(
        &line,
        |a, b| is_stop(a) && !is_digit(b),
        |a, b| [' ', a, ' ', b],
    );
    let line = spaced(
        &line,
        |a, b| is_digit(a) && b == '-',
        |a, b| [a, ' ', b, ' '],
    );
    line.split_whitespace().map(str::to_owned).collect()
}

/// Inserts a space between two characters that `are_apart`, from the left, without overlaps.
fn spaced(
    line: &str,
    are_apart: impl Fn(char, char) -> bool,
    with_spaces: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut out = String::with_capacity(2 * line.len());
    let mut chars = line.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.next_if(|&b| are_apart(a, b)) {
            Some(b) => out.extend(with_spaces(a, b)),
            None => out.push(a),
        }
    }
    out
}
