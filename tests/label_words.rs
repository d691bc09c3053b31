//! A language model learns label words or texts: checks prompts and loss, and that
//! the loss falls.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

use apet_plm::{Dtype, Frozen, Plm, PlmFiles, Prompted, Safetensors};
use apet_record::{Method, Metric, Objective, RunSpec, Words};
use apet_tasks::{Answer, Example, Task, metrics};
use apet_theta::Theta;
use apet_train::{Asked, Prediction, Trainer, ask};
use burn::tensor::Device;
use futures_lite::future::block_on;

fn load(name: &str) -> Plm {
    let folder = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read(format!("{folder}/{file}")).unwrap();
    let bytes = read("model.safetensors");
    let weights = Safetensors::open(name, [(name.to_owned(), &bytes[..])]).unwrap();
    let files = PlmFiles {
        name,
        config: &String::from_utf8(read("config.json")).unwrap(),
        tokenizer: &read("tokenizer.json"),
        weights: &weights,
    };
    Plm::load(files, Dtype::F32, &Device::flex()).unwrap()
}

fn task() -> Task {
    let example = |text: &str, label| Example {
        text: text.into(),
        pair: None,
        answer: Answer::Class(label),
    };
    let train = vec![
        example("the food was good", 1),
        example("the food was bad", 0),
        example("a long text about a good day and a good meal", 1),
        example("a bad day", 0),
    ];
    Task {
        name: "t".into(),
        labels: vec!["negative".into(), "positive".into()],
        dev: train.clone(),
        test: train.clone(),
        train,
        columns: ("sentence".into(), None),
        ..Task::default()
    }
}

fn spec(max_length: usize) -> RunSpec {
    let mut spec = RunSpec::new("m", "t");
    spec.objective = Objective::LabelWords;
    spec.task.max_length = max_length;
    spec
}

async fn floats(tensor: burn::Tensor<1>) -> Vec<f32> {
    let data = tensor.into_data_async().await.unwrap();
    data.try_to_vec().unwrap()
}

#[test]
fn the_loss_is_that_of_the_word_behind_the_prompt() {
    for (model, space) in [("llama-tiny", " "), ("bloom-tiny", " "), ("t5-tiny", "")] {
        let plm = load(model);
        let task = task();
        let mut trainer = Trainer::new(&plm, &task, &spec(128), None).unwrap();
        assert_eq!(trainer.theta().info().head, 0);
        let rows = [0, 1, 2, 3];
        // The prompt, assembled by hand.
        let asked = |label: &dyn Fn(&Example) -> usize| -> Vec<Prompted> {
            let one = |example: &Example| {
                let prompt = format!("Input: sentence: {} Output:", example.text);
                let source = plm
                    .tokenizer()
                    .encode([(prompt.as_str(), None)], 128)
                    .unwrap();
                let word = format!("{space}{}", task.labels[label(example)]);
                let mut target = plm.tokenizer().plain(&word).unwrap();
                target.push(plm.ends()[0]);
                Prompted {
                    source: source[0].ids.clone(),
                    target,
                }
            };
            task.train.iter().map(one).collect()
        };
        let gold = asked(&|example| example.answer.class().unwrap());
        let scored = plm.target_logits(&gold.iter().collect::<Vec<_>>(), &Frozen);
        let losses = block_on(floats(scored.unwrap().losses()));
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        let first = trainer.step(&[rows.to_vec()], 0.02).unwrap();
        let loss = block_on(floats(first.loss))[0];
        assert!((loss - mean).abs() < 1e-5 * mean, "{model}: {loss}, {mean}");

        // Every label's word is scored by its likelihood with the current theta.
        let mut fresh = Trainer::new(&plm, &task, &spec(128), None).unwrap();
        let scores = block_on(fresh.predict(&rows)).unwrap();
        for label in 0..2 {
            let asked = asked(&|_| label);
            let asked: Vec<&Prompted> = asked.iter().collect();
            let likely = block_on(plm.log_likelihoods(&asked, &Frozen));
            for (row, expected) in likely.unwrap().into_iter().enumerate() {
                let found = f64::from(scores[2 * row + label]);
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{model}: {found}, {expected}"
                );
            }
        }
        for _ in 0..40 {
            fresh.step(&[rows.to_vec()], 0.02).unwrap();
        }
        let last = block_on(fresh.score_dev()).unwrap();
        assert!(
            f64::from(mean) > 2.0 * last.loss,
            "{model}: {} of {mean}",
            last.loss
        );
        assert_eq!(last.rows, 4);
    }
}

#[test]
fn a_long_text_is_cut_at_its_beginning() {
    let plm = load("llama-tiny");
    let whole = Trainer::new(&plm, &task(), &spec(128), None).unwrap();
    let cut = Trainer::new(&plm, &task(), &spec(8), None).unwrap();
    // The prompt's end is kept: two rows with equal ends become equal.
    let [whole, cut] = [whole, cut].map(|t| block_on(t.predict(&[0, 1, 2, 3])).unwrap());
    assert!(whole != cut);
    let mut same = task();
    same.train[0].text = "xx the food was bad".into();
    same.train[1].text = "y the food was bad".into();
    let trainer = Trainer::new(&plm, &same, &spec(8), None).unwrap();
    let scores = block_on(trainer.predict(&[0, 1])).unwrap();
    assert_eq!(scores[..2], scores[2..]);
}

#[test]
fn what_can_not_write_is_refused() {
    let plm = load("bert-tiny");
    let error = Trainer::new(&plm, &task(), &spec(64), None).unwrap_err();
    let expected = "objective: found \"label_words\", bert-tiny is an encoder and writes none; use \"class_head\"";
    assert_eq!(error.to_string(), expected);
    let mut half = spec(64);
    half.dtype = Dtype::Bf16;
    let error = Trainer::new(&load("llama-tiny"), &task(), &half, None).unwrap_err();
    let expected = "dtype: found \"bf16\", llama-tiny is loaded as f32";
    assert_eq!(error.to_string(), expected);
}

/// Four questions with one answer each, except one with two.
fn questions() -> Task {
    let row = |text: &str, right: &[&str]| Example {
        text: text.into(),
        pair: None,
        answer: Answer::Texts(right.iter().map(|&text| text.into()).collect()),
    };
    let train = vec![
        row("the food", &["good food"]),
        row("a day", &["a bad day", "a day"]),
        row("a meal", &["was good"]),
        row("what was good", &["the meal"]),
    ];
    Task {
        name: "q".into(),
        metric: Metric::SquadF1,
        target_length: 12,
        dev: train.clone(),
        test: train.clone(),
        train,
        columns: ("question".into(), None),
        ..Task::default()
    }
}

#[test]
fn texts_are_learned_and_written() {
    for (model, space) in [("llama-tiny", " "), ("bloom-tiny", " "), ("t5-tiny", "")] {
        let plm = load(model);
        let task = questions();
        let mut spec = spec(64);
        spec.method = Method::full();
        let mut trainer = Trainer::new(&plm, &task, &spec, None).unwrap();
        let rows = [0, 1, 2, 3];
        let asked = |example: &Example| {
            let prompt = format!("Input: question: {} Output:", example.text);
            let source = plm.tokenizer().encode([(prompt.as_str(), None)], 64);
            let Answer::Texts(right) = &example.answer else {
                unreachable!("answers are texts");
            };
            let mut target = plm
                .tokenizer()
                .plain(&format!("{space}{}", right[0]))
                .unwrap();
            target.push(plm.ends()[0]);
            target.truncate(12);
            Prompted {
                source: source.unwrap()[0].ids.clone(),
                target,
            }
        };
        let asked: Vec<Prompted> = task.train.iter().map(asked).collect();
        let scored = plm.target_logits(&asked.iter().collect::<Vec<_>>(), &Frozen);
        let losses = block_on(floats(scored.unwrap().losses()));
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        let before = block_on(trainer.score_dev()).unwrap();
        assert!((before.loss as f32 - mean).abs() < 1e-5 * mean, "{model}");
        let first = trainer.step(&[rows.to_vec()], 0.01).unwrap();
        let loss = block_on(floats(first.loss))[0];
        assert!((loss - mean).abs() < 1e-5 * mean, "{model}: {loss}, {mean}");
        for _ in 0..150 {
            trainer.step(&[rows.to_vec()], 0.01).unwrap();
        }
        let after = block_on(trainer.score_dev()).unwrap();
        assert_eq!((after.metric, after.rows), (Metric::SquadF1, 4));
        assert!(before.score < 0.5, "{model}: {before:?}");
        assert!(after.score > 0.9, "{model}: {after:?}");
        // In the order of the rows, with the score.
        let (scores, answers) = block_on(trainer.predict_test()).unwrap();
        let pairs = answers.iter().zip(&task.test).map(|(answer, row)| {
            let (Prediction::Text(answer), Answer::Texts(right)) = (answer, &row.answer) else {
                unreachable!("answers are texts");
            };
            metrics::score_texts(Metric::SquadF1, std::slice::from_ref(answer), &[right])
        });
        let mean = pairs.sum::<f64>() / 4.0;
        assert!((mean - scores.score).abs() < 1e-12, "{model}: {answers:?}");
    }
}

/// A user's text gets the same answer as a row with that text.
#[test]
fn a_text_is_answered_as_its_row_is() {
    for (model, objective) in [
        ("bert-tiny", Objective::ClassHead),
        ("llama-tiny", Objective::LabelWords),
    ] {
        let plm = load(model);
        let mut task = task();
        task.test = task.train.clone();
        let mut spec = spec(64);
        spec.objective = objective;
        let mut trainer = Trainer::new(&plm, &task, &spec, None).unwrap();
        for _ in 0..20 {
            trainer
                .step(&[(0..task.train.len()).collect()], 0.01)
                .unwrap();
        }
        let (_, rows) = block_on(trainer.predict_test()).unwrap();
        for (row, predicted) in task.test.iter().zip(rows) {
            let mut theta = Theta::new(&plm, &spec, task.labels.len(), None).unwrap();
            theta.set_values(trainer.theta().values());
            let text = (row.text.clone(), row.pair.clone());
            let Asked::Classes(shares) = block_on(ask(&plm, &task, &spec, theta, text)).unwrap()
            else {
                unreachable!("there are classes");
            };
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let best = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b]));
            assert_eq!(Prediction::Class(best), predicted, "{model}: {}", row.text);
        }
    }
}

#[test]
fn texts_need_a_model_that_writes() {
    let plm = load("llama-tiny");
    let mut spec = spec(64);
    spec.objective = Objective::ClassHead;
    let e = Trainer::new(&plm, &questions(), &spec, None).unwrap_err();
    assert!(
        e.to_string()
            .starts_with("objective: found \"class_head\", the answers of q are texts"),
        "{e}"
    );
}

#[test]
fn numbers_may_stand_for_labels() {
    let plm = load("bloom-tiny");
    let numbered = Task {
        words: Words::Numbers,
        ..task()
    };
    let named = Task {
        labels: vec!["0".into(), "1".into()],
        ..task()
    };
    let [numbered, named] = [numbered, named].map(|task| {
        let trainer = Trainer::new(&plm, &task, &spec(64), None).unwrap();
        block_on(trainer.predict(&[0, 1])).unwrap()
    });
    assert_eq!(numbered, named);
}
