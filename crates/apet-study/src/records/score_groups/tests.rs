use proptest::prelude::*;

use apet_record::Status;

use super::*;
use crate::Study;
use crate::fixture::Run;

fn figure(runs: &[Run]) -> ScoreGroups {
    let mut study = Study::new();
    for run in runs {
        study.add("x", &run.text()).unwrap();
    }
    study.score_against_count(&Filter {
        task: Some("sst2".into()),
        ..Filter::default()
    })
}

fn seeds(run: Run, tests: &[f64]) -> Vec<Run> {
    let tests = tests.iter().enumerate();
    tests
        .map(|(i, &t)| Run {
            seed: i as u64,
            test: Some(t),
            ..run
        })
        .collect()
}

#[test]
fn seeds_of_one_setting_are_one_point() {
    let mut runs = seeds(Run::default(), &[0.80, 0.82, 0.81, 0.79, 0.83]);
    runs.extend(seeds(
        Run {
            count: 100,
            ..Run::default()
        },
        &[0.6],
    ));
    runs.extend(seeds(
        Run {
            method: "head",
            ..Run::default()
        },
        &[0.55, 0.55],
    ));
    runs.extend(seeds(
        Run {
            method: "full",
            count: 22_000_000,
            ..Run::default()
        },
        &[0.9],
    ));
    let figure = figure(&runs);
    let points: Vec<(&str, u64, usize)> = figure
        .groups
        .iter()
        .map(|g| (g.method.as_str(), g.count, g.n))
        .collect();
    assert_eq!(
        points,
        [
            ("apet", 100, 1),
            ("apet", 10_000, 5),
            ("full", 22_000_000, 1),
            ("head", 0, 2)
        ]
    );
    let five = &figure.groups[1];
    assert!((five.mean - 0.81).abs() < 1e-12 && five.runs.len() == 5);
    assert!((five.low.unwrap() - 0.790367567).abs() < 1e-8);
    assert_eq!((figure.groups[0].low, figure.groups[0].high), (None, None));
    assert_eq!(figure.full, [figure.groups[2].clone()]);
    assert_eq!(
        (figure.uniform_guess, figure.majority_guess),
        (Some(0.5), Some(0.52))
    );
    assert_eq!(figure.left_out, 0);
}

#[test]
fn runs_that_did_not_end_as_planned_are_counted_but_not_averaged() {
    let ended = |seed, status| Run {
        seed,
        status,
        test: Some(0.1),
        ..Run::default()
    };
    let runs = [
        Run {
            test: Some(0.9),
            ..Run::default()
        },
        ended(2, Status::Stopped),
        ended(3, Status::Diverged),
        ended(4, Status::Unfinished),
        Run {
            seed: 5,
            test: None,
            ..Run::default()
        },
        Run {
            seed: 6,
            test: Some(1e300),
            ..Run::default()
        },
    ];
    let figure = figure(&runs);
    assert_eq!(
        (
            figure.groups.len(),
            figure.groups[0].n,
            figure.groups[0].mean
        ),
        (1, 1, 0.9)
    );
    assert_eq!((figure.left_out, figure.left_out_runs.len()), (5, 5));
}

#[test]
fn one_run_on_two_devices_counts_once() {
    let here = Run {
        test: Some(0.8),
        ..Run::default()
    };
    let there = Run {
        test: Some(0.9),
        device: "webgpu",
        host: "browser",
        ..here
    };
    let other = Run {
        seed: 2,
        test: Some(0.7),
        ..here
    };
    let group = &figure(&[here, there, other]).groups[0];
    assert_eq!((group.n, group.runs.len()), (2, 3));
    assert!((group.mean - (0.85 + 0.7) / 2.0).abs() < 1e-12);
}

#[test]
fn other_settings_are_other_points() {
    let figure = figure(&[
        Run::default(),
        Run {
            rate: 1e-2,
            ..Run::default()
        },
    ]);
    assert_eq!(figure.groups.len(), 2);
    assert_ne!(figure.groups[0].setting, figure.groups[1].setting);
}

#[test]
fn filters_choose_task_model_and_split() {
    let mut study = Study::new();
    for model in ["minilm-l3", "minilm-l6"] {
        study
            .add(
                "x",
                &Run {
                    model,
                    dev: Some(0.75),
                    ..Run::default()
                }
                .text(),
            )
            .unwrap();
    }
    let of = |filter: &str| study.score_against_count(&serde_json::from_str(filter).unwrap());
    assert_eq!(of("{}").groups.len(), 2);
    assert_eq!(of(r#"{"task":"rte"}"#).groups.len(), 0);
    assert_eq!(of(r#"{"task":"rte"}"#).uniform_guess, None);
    let dev = of(r#"{"model":"minilm-l3","split":"dev"}"#);
    assert_eq!((dev.groups.len(), dev.groups[0].mean), (1, 0.75));
    assert!(serde_json::from_str::<Filter>(r#"{"split":"train"}"#).is_err());
}

#[test]
fn guesses_that_differ_are_not_drawn() {
    let mut study = Study::new();
    study.add("x", &Run::default().text()).unwrap();
    let other = Run {
        seed: 2,
        ..Run::default()
    }
    .text();
    study
        .add(
            "x",
            &other.replace("\"majority_guess\":0.52", "\"majority_guess\":0.6"),
        )
        .unwrap();
    let figure = study.score_against_count(&Filter::default());
    assert_eq!(
        (figure.uniform_guess, figure.majority_guess),
        (Some(0.5), None)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Every record is in one group or left out, in whatever order they came.
    #[test]
    fn every_record_is_accounted_for(
        runs in prop::collection::vec((0usize..4, 0u64..3, 0u64..6, prop::option::of(0.0f64..1.0)), 0..20),
        turn in 0usize..20,
    ) {
        let status = [Status::Done, Status::Stopped, Status::Diverged, Status::Unfinished];
        let mut runs: Vec<Run> = runs
            .into_iter()
            .map(|(s, count, seed, test)| Run {
                status: status[s],
                count: 10 + count,
                seed,
                test,
                ..Run::default()
            })
            .collect();
        runs.sort_by_key(|r| (r.count, r.seed));
        runs.dedup_by_key(|r| (r.count, r.seed));
        let estimate = figure(&runs);
        let grouped: usize = estimate.groups.iter().map(|g| g.runs.len()).sum();
        prop_assert_eq!(grouped + estimate.left_out, runs.len());
        if !runs.is_empty() {
            let by = turn % runs.len();
            runs.rotate_left(by);
        }
        prop_assert_eq!(figure(&runs), estimate);
    }
}
