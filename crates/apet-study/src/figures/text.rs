//! Formats numbers for the texts of figures.

use crate::stats::sample::Mean;

/// A count with commas.
pub(super) fn with_commas(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that was computed, with commas.
pub(super) fn rounded(count: f64) -> String {
    with_commas(count.round() as u64)
}

/// A score in percent, with its interval.
pub(super) fn percent(value: f64, low: Option<f64>, high: Option<f64>) -> String {
    let interval = match (low, high) {
        (Some(low), Some(high)) => format!(" [{:.1}, {:.1}]", 100.0 * low, 100.0 * high),
        _ => String::new(),
    };
    format!("{:.1}{interval}", 100.0 * value)
}

/// A mean to three places, with its interval.
pub(super) fn mean(found: Option<Mean>) -> String {
    match found {
        None => "-".into(),
        Some(of) => match of.low.zip(of.high) {
            None => format!("{:.3}", of.mean),
            Some((low, high)) => format!("{:.3} [{low:.3}, {high:.3}]", of.mean),
        },
    }
}

/// `1 run`, `3 runs`.
pub(super) fn runs(n: usize) -> String {
    match n {
        1 => "1 run".into(),
        n => format!("{n} runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        let shown = [0, 12, 999, 1000, 1234567].map(with_commas);
        assert_eq!(shown, ["0", "12", "999", "1,000", "1,234,567"]);
    }
}
