use apet_record::Status;

use super::*;
use crate::Filter;
use crate::fixture::Run;
use proptest::prelude::*;

fn study(runs: &[Run]) -> Study {
    let mut study = Study::new();
    for run in runs {
        study.add("test", &run.text()).unwrap();
    }
    study
}

#[test]
fn a_longer_record_of_the_same_run_and_device_replaces() {
    let run = Run {
        steps: 3,
        ..Run::default()
    };
    let mut study = Study::new();
    let long = run.text();
    let short: String = long.split_inclusive('\n').take(3).collect();
    let counts = |a: Added| [a.added, a.replaced, a.unchanged];
    assert_eq!(counts(study.add("a", &short).unwrap()), [1, 0, 0]);
    assert_eq!(counts(study.add("b", &long).unwrap()), [0, 1, 0]);
    assert_eq!(counts(study.add("c", &short).unwrap()), [0, 0, 1]);
    assert_eq!(study.rows()[0].source, "b");
    let elsewhere = Run {
        host: "browser",
        ..run
    };
    assert_eq!(
        counts(study.add("d", &elsewhere.text()).unwrap()),
        [1, 0, 0]
    );
    let keys: Vec<String> = study.rows().into_iter().map(|r| r.key).collect();
    let id = elsewhere.spec().id();
    assert_eq!(
        keys,
        [format!("{id}@browser:cpu"), format!("{id}@native:cpu")]
    );
}

#[test]
fn a_run_that_is_made_again_replaces_what_it_was() {
    let long = Run::default().text();
    let at = "\"started\":\"";
    let (head, rest) = long.split_once(at).unwrap();
    let (_, rest) = rest.split_once('"').unwrap();
    let begun = |day: &str| format!("{head}{at}2030-01-{day}T00:00:00Z\"{rest}");
    let header = begun("02").lines().next().unwrap().to_owned();
    let mut study = Study::new();
    study.add("server", &begun("01")).unwrap();
    assert_eq!(study.rows()[0].status, Status::Done);
    assert_eq!(study.add("server", &header).unwrap().replaced, 1);
    assert_eq!(study.rows()[0].status, Status::Unfinished);
    assert_eq!(study.add("server", &begun("01")).unwrap().unchanged, 1);
    assert_eq!(study.add("server", &begun("02")).unwrap().replaced, 1);
}

#[test]
fn a_report_is_of_the_runs_that_are_asked_for() {
    let other = Run {
        model: "elsewhere",
        ..Run::default()
    };
    let study = study(&[Run::default(), other]);
    let key = key(study.record(&Run::default().spec().id()).unwrap());
    let all = study.report("x", "y", None);
    let one = study.report("x", "y", Some(&[key]));
    assert!(all.contains("elsewhere"));
    assert!(!one.contains("elsewhere") && one.contains(Run::default().model));
}

#[test]
fn records_are_found_by_key_and_by_run_id() {
    let (a, b) = (
        Run::default(),
        Run {
            seed: 2,
            ..Run::default()
        },
    );
    let also_a = Run {
        device: "wgpu",
        ..a
    };
    let mut study = study(&[a, b, also_a]);
    let id = a.spec().id();
    assert_eq!(study.curves(std::slice::from_ref(&id), 0.0).len(), 2);
    assert_eq!(
        study
            .curves(&[format!("{id}@native:wgpu"), "x".into()], 0.0)
            .len(),
        1
    );
    assert_eq!(study.record(&id).unwrap().header.device.name, "cpu");
    assert!(study.remove(&format!("{id}@native:cpu")));
    assert_eq!(study.record(&id).unwrap().header.device.name, "wgpu");
    assert!(study.remove(&id) && !study.remove(&id));
    assert_eq!(study.rows().len(), 1);
    assert_eq!(
        study.record(&id).unwrap_err().to_string(),
        format!("no record has the key or run id {id:?}")
    );
}

#[test]
fn a_run_counts_once_where_it_ended() {
    let stopped = Run {
        status: Status::Stopped,
        device: "cpu",
        ..Run::default()
    };
    let done = Run {
        device: "wgpu",
        ..Run::default()
    };
    let answers = study(&[stopped, done]).claims(None);
    assert_eq!((answers.runs, answers.left_out), (1, 0));
    let none = study(&[done]).claims(Some(&["0000000000000000".into()]));
    assert_eq!((none.runs, none.left_out), (0, 0));
}

#[test]
fn a_record_survives_the_study() {
    let text = Run::default().text();
    let study = study(&[Run::default()]);
    let record = study.record(&Run::default().spec().id()).unwrap();
    assert_eq!(record.to_jsonl(), text);
}

#[test]
fn a_wrong_record_adds_nothing() {
    let good = Run::default().text();
    let run = Run::default().spec().id();
    let problem = |wrong: String| {
        let mut study = Study::new();
        let text = format!("{good}{wrong}");
        let problem = study.add("x", &text).unwrap_err().to_string();
        assert!(study.rows().is_empty());
        problem
    };
    assert_eq!(
        problem(good.replace(&format!("\"run\":\"{run}\""), "\"run\":\"../../etc\"")),
        "record 2: run: found \"../../etc\", expected 16 hexadecimal digits"
    );
    assert_eq!(
        problem(good.replace(
            "\"trainable_parameters\":10000",
            "\"trainable_parameters\":18446744073709551615"
        )),
        "record 2: theta.trainable_parameters: found 18446744073709551615, expected at most 2^53 - 1"
    );
    assert_eq!(
        problem(good.replace("\"max_length\":128", "\"max_length\":1")),
        "record 2: spec.task.max_length: found 1, expected at least 3 ([CLS], one token, [SEP])"
    );
    assert!(problem("{\"kind\":\"step\"}\n".into()).contains(": step: "));
}

proptest! {
    /// Any text is refused or read, and whatever is read can be shown.
    #[test]
    fn rubbish_does_not_panic(
        lines in prop::collection::vec(0usize..12, 0..8),
        cut in any::<prop::sample::Index>(),
        put in "[\"{}:,0-9a-z]{0,4}",
    ) {
        let whole = Run { steps: 8, ..Run::default() }.text();
        let whole: Vec<&str> = whole.split_inclusive('\n').collect();
        let mut text: String = lines.iter().filter_map(|i| whole.get(*i)).copied().collect();
        if !text.is_empty() {
            let at = cut.index(text.len());
            text.replace_range(at..at, &put);
        }
        let mut study = Study::new();
        if study.add("x", &text).is_ok() {
            let keys: Vec<String> = study.rows().into_iter().map(|r| r.key).collect();
            prop_assert_eq!(study.curves(&keys, 0.9).len(), keys.len());
            let figure = study.score_against_count(&Filter::default());
            prop_assert!(figure.groups.iter().all(|g| (0.0..=1.0).contains(&g.mean)));
        }
    }
}
