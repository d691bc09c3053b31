use std::collections::BTreeSet;

use apet_record::RunSpec;
use proptest::prelude::*;

use super::*;
use crate::read::tests::file;

fn spec(name: &str) -> TaskSpec {
    RunSpec::new("m", name).task
}

/// `rows` rows of a sentiment task with alternating classes and distinct texts.
fn split(name: &str, rows: usize) -> SplitFile {
    let lines = (0..rows).map(|i| format!("{{\"text\":\"{name} {i}\",\"label\":{}}}\n", i % 2));
    file(&format!("{name}.jsonl"), lines.collect::<String>())
}

fn files(train: usize, dev: Option<usize>, test: Option<usize>) -> SplitFiles {
    SplitFiles {
        train: vec![split("train", train)],
        dev: dev.map(|n| split("dev", n)).into_iter().collect(),
        test: test.map(|n| split("test", n)).into_iter().collect(),
    }
}

fn only_train(name: &str, content: &str) -> SplitFiles {
    SplitFiles {
        train: vec![file(name, content)],
        ..files(0, Some(4), Some(4))
    }
}

fn problem(spec: &TaskSpec, files: SplitFiles) -> String {
    load(spec, 0, files).unwrap_err().to_string()
}

fn sizes(task: &Task) -> [usize; 3] {
    [task.train.len(), task.dev.len(), task.test.len()]
}

fn texts(rows: &[Example]) -> Vec<&str> {
    rows.iter().map(|e| e.text.as_str()).collect()
}

#[test]
fn a_known_task_is_loaded_in_the_order_of_its_files() {
    let task = load(&spec("rotten_tomatoes"), 0, files(4, Some(3), Some(2))).unwrap();
    assert_eq!(task.labels, ["negative", "positive"]);
    assert_eq!(sizes(&task), [4, 3, 2]);
    assert_eq!(
        texts(&task.train),
        ["train 0", "train 1", "train 2", "train 3"]
    );
    assert_eq!(task.train[1].answer, Answer::Class(1));
    assert_eq!(task.split_note, "");
}

#[test]
fn the_parts_of_a_split_are_read_one_after_the_other() {
    let mut parts = files(4, Some(3), Some(2));
    let whole = load(&spec("sentences"), 0, files(4, Some(3), Some(2))).unwrap();
    let text = String::from_utf8(parts.train[0].bytes.clone()).unwrap();
    let (first, second) = text.split_at(text.find("{\"text\":\"train 1").unwrap());
    parts.train = vec![
        file("train-00000-of-00002.jsonl", first),
        file("train-00001-of-00002.jsonl", second),
    ];
    assert_eq!(load(&spec("sentences"), 0, parts.clone()).unwrap(), whole);
    // An error names the part in which it occurs.
    parts.train[1].bytes = second.replace("1}", "7}").into_bytes();
    let e = problem(&spec("sentences"), parts);
    assert!(
        e.starts_with("train-00001-of-00002.jsonl: line 1, column \"label\""),
        "{e}"
    );
}

#[test]
fn a_pair_has_two_texts() {
    let row = |label| format!("a man sleeps\ta person sleeps\t{label}\n");
    let content = format!(
        "premise\thypothesis\tlabel\n{}{}",
        row("entailment"),
        row("-1")
    );
    let snli = SplitFiles {
        train: vec![file("train.tsv", content.clone())],
        dev: vec![file("dev.tsv", content.clone())],
        test: vec![file("test.tsv", content)],
    };
    let task = load(&spec("snli"), 0, snli.clone()).unwrap();
    assert_eq!(task.train[0].pair.as_deref(), Some("a person sleeps"));
    assert_eq!(sizes(&task), [1, 1, 1]);
    assert!(
        task.split_note
            .contains("train: 1 rows without a label dropped")
    );
    // In other tasks a row without a label is an error.
    let e = problem(&spec("mnli"), snli);
    assert_eq!(
        e,
        "train.tsv: line 3, column \"label\": found \"-1\", expected 0 to 2 or one of \"entailment\", \"neutral\", \"contradiction\""
    );
}

#[test]
fn a_users_own_task_takes_its_labels_from_train() {
    let spec = TaskSpec {
        text_column: Some("body".into()),
        label_column: Some("stars".into()),
        ..spec("my reviews")
    };
    let csv = |name: &str, labels: &[&str]| {
        let rows: String = labels.iter().map(|l| format!("some text,{l}\n")).collect();
        file(name, format!("body,stars\n{rows}"))
    };
    let mine = |dev| SplitFiles {
        train: vec![csv("train.csv", &["5", "1", "10", "5"])],
        dev: vec![csv("dev.csv", dev)],
        test: vec![csv("test.csv", &["10"])],
    };
    let task = load(&spec, 0, mine(&["1"])).unwrap();
    assert_eq!(task.labels, ["1", "5", "10"]);
    assert_eq!(task.test[0].answer, Answer::Class(2));
    assert_eq!(
        problem(&spec, mine(&["1", "3"])),
        "dev.csv: line 3, column \"stars\": found \"3\", expected a label of the training split: \"1\", \"5\", \"10\""
    );
}

#[test]
fn a_missing_dev_is_a_tenth_of_train() {
    let task = load(&spec("sentences"), 0, files(50, None, Some(2))).unwrap();
    assert_eq!(sizes(&task), [45, 5, 2]);
    assert_eq!(task.split_note, "no dev split: 5 rows drawn from train");
    // The seed changes the training rows, never the split.
    assert_eq!(
        load(&spec("sentences"), 7, files(50, None, Some(2))).unwrap(),
        task
    );
}

/// Guarantees that a drawn split never changes.
#[test]
fn a_missing_test_is_half_of_dev() {
    let task = load(&spec("sentences"), 0, files(4, Some(9), None)).unwrap();
    assert_eq!(sizes(&task), [4, 5, 4]);
    assert_eq!(task.split_note, "no test split: 4 rows drawn from dev");
    assert_eq!(texts(&task.test), ["dev 2", "dev 4", "dev 5", "dev 7"]);
}

#[test]
fn a_test_without_labels_is_made_from_dev() {
    for row in [
        "{\"text\":\"a\",\"label\":-1}\n",
        "{\"text\":\"a\"}\n",
        "{\"text\":\"a\",\"label\":null}\n",
    ] {
        let mut sst2 = files(4, Some(8), None);
        sst2.test = vec![file("test.jsonl", row.repeat(3))];
        let task = load(&spec("sentences"), 0, sst2).unwrap();
        assert_eq!(sizes(&task), [4, 4, 4]);
        assert_eq!(task.split_note, "test has no labels: 4 rows drawn from dev");
    }
}

#[test]
fn a_test_split_with_some_labels_is_an_error() {
    let mut some = files(4, Some(8), None);
    some.test = vec![file(
        "test.jsonl",
        "{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\",\"label\":-1}\n",
    )];
    assert_eq!(
        problem(&spec("sentences"), some),
        "test.jsonl: line 2, column \"label\": found -1, expected 0 to 1 or one of \"negative\", \"positive\""
    );
}

#[test]
fn limits_draw_train_and_take_the_first_of_dev_and_test() {
    let limited = TaskSpec {
        train_rows: 10,
        dev_rows: 3,
        test_rows: 99,
        ..spec("sentences")
    };
    let of = |seed| load(&limited, seed, files(100, Some(5), Some(5))).unwrap();
    let task = of(1);
    assert_eq!(sizes(&task), [10, 3, 5]);
    assert_eq!(texts(&task.dev), ["dev 0", "dev 1", "dev 2"]);
    assert_eq!(task.split_note, "test: 99 rows requested, all 5 used");
    assert_eq!(task, of(1));
    assert_ne!(task.train, of(2).train);
    let drawn = Stream::new("train rows", 1).sample(100, 10);
    let expected: Vec<String> = drawn.iter().map(|i| format!("train {i}")).collect();
    assert_eq!(texts(&task.train), expected);
}

#[test]
fn shots_are_drawn_from_each_class() {
    let few = TaskSpec {
        shots: 3,
        ..spec("sentences")
    };
    let of = |seed| load(&few, seed, files(40, Some(5), Some(5))).unwrap();
    let task = of(1);
    let classes: Vec<_> = task.train.iter().map(|e| e.answer.class()).collect();
    assert_eq!(classes.len(), 6);
    assert_eq!(classes.iter().filter(|&&c| c == Some(1)).count(), 3);
    assert_eq!(task, of(1));
    assert_ne!(task.train, of(2).train);
    let more = TaskSpec { shots: 30, ..few };
    let task = load(&more, 1, files(40, Some(5), Some(5))).unwrap();
    assert_eq!(sizes(&task), [40, 5, 5]);
    assert_eq!(
        task.split_note,
        "train: 30 shots requested, 20 rows of negative used; train: 30 shots requested, 20 rows of positive used"
    );
}

#[test]
fn answers_that_are_texts_are_read_and_those_of_one_question_joined() {
    let row = |mr: &str, text: &str| format!("{{\"mr\":\"{mr}\",\"ref\":\"{text}\"}}\n");
    let rows = [row("a", "one"), row("b", "two"), row("a", "three ")].concat();
    let e2e = SplitFiles {
        train: vec![file("train.jsonl", rows.clone())],
        dev: vec![file("dev.jsonl", rows.clone())],
        test: vec![file("test.jsonl", rows)],
    };
    let task = load(&spec("e2e_nlg"), 0, e2e.clone()).unwrap();
    assert_eq!(sizes(&task), [3, 2, 2]);
    assert_eq!((task.metric, task.target_length), (Metric::Bleu, 64));
    assert!(task.labels.is_empty());
    let texts = |texts: &[&str]| Answer::Texts(texts.iter().map(|&t| t.into()).collect());
    assert_eq!(task.train[2].answer, texts(&["three"]));
    assert_eq!(task.dev[0].answer, texts(&["one", "three"]));
    assert_eq!(task.dev[1].answer, texts(&["two"]));
    assert_eq!(
        task.split_note,
        "dev: 3 rows have 2 different questions; each is asked once; test: 3 rows have 2 different questions; each is asked once"
    );
    let info = task.info();
    assert_eq!((info.uniform_guess, info.majority_guess), (0.0, 0.0));
    // The metric of a user's own task makes its answers texts.
    let mine = TaskSpec {
        text_column: Some("mr".into()),
        label_column: Some("ref".into()),
        metric: Some(Metric::RougeL),
        ..spec("mine")
    };
    let mine = load(&mine, 0, e2e.clone()).unwrap();
    assert_eq!(mine.train, task.train);
    let classes = TaskSpec {
        metric: Some(Metric::Accuracy),
        ..spec("e2e_nlg")
    };
    assert_eq!(
        problem(&classes, e2e),
        "task.metric: found \"accuracy\", expected a metric of texts, because the answers of e2e_nlg are"
    );
}

#[test]
fn a_list_holds_every_right_answer() {
    let rows = "{\"question\":\"when\",\"answer\":[\"1968\",\"in 1968\"]}\n".repeat(20);
    let one = SplitFiles {
        train: vec![file("train.jsonl", rows)],
        dev: Vec::new(),
        test: Vec::new(),
    };
    let task = load(&spec("nq_open"), 0, one).unwrap();
    let right = Answer::Texts(vec!["1968".into(), "in 1968".into()]);
    assert_eq!(task.train[0].answer, right);
}

#[test]
fn a_users_own_task_is_described_by_its_spec() {
    let mine = TaskSpec {
        labels: vec!["bad".into(), "good".into(), "so-so".into()],
        label_words: vec!["terrible".into(), "great".into(), "okay".into()],
        template: Some("{text} It was".into()),
        ..spec("mine")
    };
    let task = load(&mine, 0, files(8, Some(4), Some(4))).unwrap();
    // The classes given by the spec with their words, although train has only two.
    assert_eq!(task.labels, mine.labels);
    assert_eq!(task.train[1].answer, Answer::Class(1));
    assert_eq!(task.prompt(&task.train[1]), "train 1 It was");
    assert_eq!(task.word(2), "okay");

    let refused = |change: fn(&mut TaskSpec), of: &str| {
        let mut wrong = TaskSpec {
            name: of.into(),
            ..mine.clone()
        };
        change(&mut wrong);
        problem(&wrong, files(8, Some(4), Some(4)))
    };
    let e = refused(|_| {}, "sst2");
    assert!(
        e.contains("task.text_column") || e.contains("sentence"),
        "{e}"
    );
    let known = refused(|s| s.text_column = Some("text".into()), "sst2");
    assert_eq!(
        known,
        "task.labels: found labels, expected none, because sst2 has its own"
    );
    let few = refused(|s| s.labels.clear(), "mine");
    assert_eq!(
        few,
        "task.label_words: found 3, expected 2, one for each class"
    );
    let pair = refused(|s| s.template = Some("{text} {pair}".into()), "mine");
    assert_eq!(
        pair,
        "task.template: found {pair} without task.text_pair_column, expected both or neither"
    );
    let texts = refused(
        |s| {
            s.metric = Some(Metric::RougeL);
            s.label_words.clear();
        },
        "mine",
    );
    assert!(
        texts.starts_with("task.labels: found labels, expected none"),
        "{texts}"
    );
}

#[test]
fn f1_is_of_two_classes() {
    let three = TaskSpec {
        metric: Some(Metric::F1),
        ..spec("snli")
    };
    let row = "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":1}\n".repeat(30);
    let e = problem(&three, only_train("train.jsonl", &row));
    assert!(
        e.starts_with("task.metric: found \"f1\" for 3 classes"),
        "{e}"
    );
}

#[test]
fn invalid_data_are_errors_of_one_sentence() {
    let s = spec("sentences");
    let cases = [
        (
            "{\"text\":\"a\",\"label\":2}",
            "line 1, column \"label\": found 2, expected 0 to 1 or one of \"negative\", \"positive\"",
        ),
        (
            "{\"text\":\"a\",\"label\":\"bad\"}",
            "line 1, column \"label\": found \"bad\", expected 0 to 1 or one of \"negative\", \"positive\"",
        ),
        (
            "{\"text\":\"a\"}",
            "line 1: no column \"label\", found \"text\"; set task.label_column to one of these",
        ),
        (
            "{\"text\":4,\"label\":1}",
            "line 1, column \"text\": found 4, expected text",
        ),
        (
            "{\"text\":null,\"label\":1}",
            "line 1, column \"text\": found null, expected text",
        ),
        ("", "found no rows, expected at least 1"),
    ];
    for (content, expected) in cases {
        assert_eq!(
            problem(&s, only_train("train.jsonl", content)),
            format!("train.jsonl: {expected}")
        );
    }
    let mut empty_dev = files(4, Some(4), Some(4));
    empty_dev.dev = vec![file("dev.csv", "text,label\n")];
    assert_eq!(
        problem(&s, empty_dev),
        "dev.csv: found no rows, expected at least 1"
    );
    assert_eq!(
        problem(&s, files(1, None, Some(1))),
        "train.jsonl: found 1 rows, expected at least 2, because dev is drawn from them; add rows or a dev file"
    );
    assert_eq!(
        problem(&s, files(9, Some(1), None)),
        "dev.jsonl: found 1 rows, expected at least 2, because test is drawn from them; add rows or a test file"
    );
    let e = problem(
        &spec("snli"),
        only_train(
            "train.jsonl",
            "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":-1}",
        ),
    );
    assert_eq!(
        e,
        "train.jsonl: found 1 rows without a label, expected at least 1 with one"
    );
}

#[test]
fn one_column_has_one_meaning() {
    let mut s = spec("mine");
    s.label_column = Some("text".into());
    assert_eq!(
        problem(&s, files(4, None, None)),
        "task.label_column: found \"text\", which is also the column of a text, expected a separate column"
    );
    s.label_column = None;
    s.text_pair_column = Some("text".into());
    assert!(problem(&s, files(4, None, None)).starts_with("task.text_pair_column: found \"text\""));
}

proptest! {
    /// Every row is in exactly one split, no matter which splits are missing.
    #[test]
    fn no_row_is_lost_or_used_twice(
        train in 2usize..60,
        dev in prop::option::of(2usize..20),
        test in prop::option::of(1usize..20),
        seed in 0u64..20,
    ) {
        prop_assume!(dev.is_some() || test.is_some() || train >= 20);
        let all = train + dev.unwrap_or(0) + test.unwrap_or(0);
        let task = load(&spec("sentences"), seed, files(train, dev, test)).unwrap();
        let used: BTreeSet<&str> = [&task.train, &task.dev, &task.test]
            .into_iter()
            .flat_map(|rows| texts(rows))
            .collect();
        prop_assert_eq!(used.len(), all);
        prop_assert_eq!(sizes(&task).iter().sum::<usize>(), all);
        prop_assert!(sizes(&task).iter().all(|&n| n > 0));
    }

    /// Arbitrary bytes in any split never panic; rows that are read have labels in range.
    #[test]
    fn rubbish_does_not_panic(
        contents in prop::collection::vec("([{}\",:\t\n]|text|label|label\":1|\\{\"text\":\"a\",\"label\":[0-3]\\}\n){0,20}", 3),
        ending in "(jsonl|json|csv|tsv)",
        name in "(sentences|mine|snli)",
    ) {
        let mut split = contents.into_iter().map(|c| file(&format!("x.{ending}"), c));
        let files = SplitFiles {
            train: split.by_ref().take(1).collect(),
            dev: split.by_ref().take(1).filter(|f| !f.bytes.is_empty()).collect(),
            test: split.filter(|f| !f.bytes.is_empty()).collect(),
        };
        if let Ok(task) = load(&spec(&name), 0, files) {
            let rows = [&task.train, &task.dev, &task.test].into_iter().flatten();
            prop_assert!(rows.into_iter().all(|e| e.answer.class().unwrap() < task.labels.len()));
        }
    }
}
