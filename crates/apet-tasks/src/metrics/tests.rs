//! Compares with figures from the Python packages (`tests/peers/metrics.py`).

use serde_json::Value;

use super::*;

fn figures() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/metrics.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|value| text(value).into()).collect()
}

#[track_caller]
fn near(found: f64, expected: &Value, of: &Value) {
    let expected = expected.as_f64().unwrap();
    // torchmetrics computes in single precision.
    assert!(
        (found - expected).abs() < 1e-6,
        "{found}, expected {expected}: {of}"
    );
}

#[test]
fn classes_are_scored_as_by_scikit_learn() {
    let figures = figures();
    for case in list(&figures["classes"]) {
        let numbers = |name: &str| -> Vec<usize> {
            let numbers = list(&case[name]).iter();
            numbers.map(|n| n.as_u64().unwrap() as usize).collect()
        };
        let (predicted, gold) = (numbers("predicted"), numbers("gold"));
        near(accuracy(&predicted, &gold), &case["accuracy"], case);
        near(f1(&predicted, &gold, 1), &case["f1"], case);
        near(matthews(&predicted, &gold), &case["matthews"], case);
    }
}

#[test]
fn a_row_without_a_prediction_is_wrong() {
    assert_eq!(accuracy(&[1], &[1, 1]), 0.5);
    assert_eq!(accuracy(&[], &[]), 0.0);
}

#[test]
fn words_are_stemmed_as_by_nltk() {
    let figures = figures();
    let stems = figures["stems"].as_object().unwrap();
    assert!(stems.len() > 1500);
    let wrong: Vec<String> = stems
        .iter()
        .filter(|(word, stem)| porter::stem(word) != text(stem))
        .map(|(word, stem)| format!("{word}: {}, expected {stem}", porter::stem(word)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn summaries_are_scored_as_by_rouge_score() {
    let figures = figures();
    for case in list(&figures["rouge"]) {
        let (prediction, target) = (text(&case["prediction"]), text(&case["target"]));
        let found = [
            ("rouge1", rouge::n(prediction, target, 1)),
            ("rouge2", rouge::n(prediction, target, 2)),
            ("rougeL", rouge::l(prediction, target)),
        ];
        for (name, found) in found {
            near(found.precision, &case[name][0], case);
            near(found.recall, &case[name][1], case);
            near(found.f(), &case[name][2], case);
        }
    }
}

#[test]
fn a_corpus_is_scored_as_by_sacrebleu() {
    let figures = figures();
    for case in list(&figures["bleu"]) {
        let pairs = list(&case["pairs"]).iter();
        let pairs = pairs.map(|pair| (text(&pair[0]).to_owned(), texts(&pair[1])));
        let (predictions, references): (Vec<_>, Vec<_>) = pairs.unzip();
        let references: Vec<&[String]> = references.iter().map(|texts| &texts[..]).collect();
        let score = score_texts(Metric::Bleu, &predictions, &references);
        near(score, &case["score"], case);
    }
    assert_eq!(bleu::corpus(&[], &[]), 0.0);
}

#[test]
fn answers_are_scored_as_by_squad() {
    let figures = figures();
    for case in list(&figures["squad"]) {
        let (answer, golds) = (text(&case["answer"]), texts(&case["golds"]));
        near(squad::exact(answer, &golds), &case["exact"], case);
        near(squad::f1(answer, &golds), &case["f1"], case);
    }
    assert_eq!(squad::exact("an", &["the".into()]), 1.0);
    assert_eq!(squad::f1("an", &["the".into()]), 0.0);
}
