//! `apet demo`, and what comes inside the binary, as a user without a network has them.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

mod place;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use place::Place;

impl Place {
    /// What a command says that does not.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.apet(words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A study of eight runs.
    fn study(&self) -> String {
        let study = r#"
            name = "small"
            about = "Eight runs."
            models = ["ladder-nano", "ladder-micro"]
            seeds = [1, 2]
            train = { steps = 3, batch_size = 4, eval_every = 3 }
            [[task]]
            name = "sentences"
            train_rows = 40
            dev_rows = 20
            test_rows = 20
            [[method]]
            name = "lora"
            rank = 1
            learning_rate = 1e-3
            [[method]]
            name = "apet"
            counts = ["as bitfit"]
            learning_rate = 1e-2
        "#;
        fs::write(self.path("study.toml"), study).unwrap();
        study.into()
    }
}

#[test]
fn nothing_need_be_fetched() {
    let place = Place::new();
    let value: serde_json::Value =
        serde_json::from_str(&place.said(&["run", "--steps", "2", "--batch", "4", "--json"]))
            .unwrap();
    let header = &value["header"];
    assert_eq!(header["spec"]["model"], "ladder-micro");
    assert_eq!(header["spec"]["task"]["name"], "sentences");
    assert_eq!(header["task"]["train_rows"], 2400);
    // Only what was asked for is in the store.
    let models: Vec<_> = fs::read_dir(place.path("store/models"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(models.len(), 1);
    // A file that was spoilt is as it was again.
    let config = place.path("store/models/ladder-micro/config.json");
    let before = fs::read(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    fs::write(place.path("texts.txt"), "It was good.\n").unwrap();
    place.said(&[
        "forward",
        "--texts",
        "texts.txt",
        "--model",
        "ladder-micro",
        "-o",
        "x.safetensors",
    ]);
    assert_eq!(fs::read(&config).unwrap(), before);
    assert!(
        place
            .said(&["fetch", "ladder-nano"])
            .contains("comes with apet")
    );
}

#[test]
fn a_study_is_run_once_and_reported() {
    let place = Place::new();
    place.study();
    let plan = place.said(&["demo", "study.toml", "--dry-run"]);
    assert_eq!(plan.lines().count(), 9, "{plan}");
    assert!(!place.path("store").exists());
    let said = place.said(&["demo", "study.toml", "-o", "report.md"]);
    assert!(said.contains("8 runs made"), "{said}");
    let report = fs::read_to_string(place.path("report.md")).unwrap();
    assert!(said.contains(&report));
    assert_eq!(report.matches("\n## Claim ").count(), 4);
    assert_eq!(
        report
            .matches("| ladder-nano | 636,864 | lora | 512 | ")
            .count(),
        1,
        "{report}"
    );
    assert_eq!(
        report.matches("| ladder-micro - ladder-nano | ").count(),
        2,
        "{report}"
    );
    let records = place.records("store/runs");
    assert_eq!(records.len(), 8);
    let again = place.said(&["demo", "study.toml"]);
    assert!(again.contains("0 runs made"), "{again}");
    assert!(again.contains(&report));
}

#[cfg(unix)]
#[test]
fn a_killed_study_goes_on() {
    let place = Place::new();
    let study = place.study().replace("steps = 3", "steps = 400");
    fs::write(place.path("study.toml"), study).unwrap();
    let mut child = place
        .command(&["demo", "study.toml"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while place.records("store/runs").len() < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let there = place.records("store/runs").len();
    assert!((3..8).contains(&there), "{there} records at the kill");
    let said = place.said(&["demo", "study.toml"]);
    let made: usize = said
        .split(" runs made")
        .next()
        .unwrap()
        .rsplit('\n')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((8 - there..8).contains(&made), "{made} made after {there}");
    assert_eq!(place.records("store/runs").len(), 8);
}

#[test]
fn wrong_studies_are_refused_before_anything_runs() {
    let place = Place::new();
    let study = place.study();
    for (from, to, expected) in [
        ("seeds", "seed", "study.toml: line 5: unknown field `seed`"),
        ("rank = 1", "rank = 0", "study.toml: method.rank: found 0"),
        ("ladder-nano", "ladder-nono", "ladder-nono"),
        ("\"sentences\"", "\"sentence\"", "sentence"),
    ] {
        fs::write(place.path("study.toml"), study.replace(from, to)).unwrap();
        let said = place.refused(&["demo", "study.toml"]);
        assert!(said.contains(expected), "{to}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(place.records("store/runs"), Vec::<PathBuf>::new(), "{to}");
    }
}
