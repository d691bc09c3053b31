//! `apet export` and `apet import`, as a user has them: a run of a tiny model leaves in every
//! form, comes back, and says the same.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// A store with a custom task.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let row = |n: usize| {
            format!(
                "{{\"text\": \"text {n}, {}\", \"label\": {}}}\n",
                n % 3,
                n % 2
            )
        };
        let rows = |count: usize| (0..count).map(row).collect::<String>();
        fs::create_dir(place.path("data")).unwrap();
        for (split, count) in [("train", 40), ("validation", 10), ("test", 10)] {
            fs::write(place.path(&format!("data/{split}.jsonl")), rows(count)).unwrap();
        }
        fs::write(
            place.path("texts.txt"),
            "It was good.\nNot bad at all, and warm\n",
        )
        .unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn apet(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_apet"))
            .args(words)
            .current_dir(self.0.path())
            .env("APET_HOME", self.path("store"))
            .output()
            .unwrap()
    }

    fn said(&self, words: &[&str]) -> String {
        let output = self.apet(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = self.apet(words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Trains a tiny model; gives the run's id.
    fn run(&self, model: &str, method: &[&str]) -> String {
        let model = fixture(model);
        let mut words = vec!["run", "--model", model.to_str().unwrap(), "--task", "mine"];
        words.extend([
            "--data",
            "data",
            "--steps",
            "4",
            "--eval-every",
            "4",
            "--batch",
            "4",
        ]);
        words.extend(["--seq", "16", "--learning-rate", "0.05", "--json"]);
        words.extend(method);
        let value: serde_json::Value = serde_json::from_str(&self.said(&words)).unwrap();
        value["header"]["run"].as_str().unwrap().to_owned()
    }

    /// The hidden states of the texts, with a theta or another model.
    fn states(&self, model: &Path, theta: Option<&str>) -> Vec<Vec<f32>> {
        let mut words = vec![
            "forward",
            "--model",
            model.to_str().unwrap(),
            "--texts",
            "texts.txt",
        ];
        words.extend(["-o", "states.safetensors"]);
        words.extend(theta.into_iter().flat_map(|theta| ["--theta", theta]));
        self.said(&words);
        let bytes = fs::read(self.path("states.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<&str> = file
            .names()
            .into_iter()
            .filter(|n| n.contains("hidden"))
            .collect();
        names.sort_unstable();
        let floats = |name: &&str| {
            let data = file.tensor(name).unwrap().data().to_vec();
            let four = data.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            four.map(f32::from_le_bytes).collect()
        };
        names.iter().map(floats).collect()
    }
}

fn close(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| (a - b).abs() <= 1e-5 * largest)
        })
}

#[test]
fn a_run_leaves_in_every_form_and_comes_back() {
    let place = Place::new();
    let linear: &[&str] = &[
        "--method",
        "apet",
        "--count",
        "300",
        "--modules",
        "attention,ffn",
    ];
    for (model, method) in [
        ("bert-tiny", &["--method", "lora"][..]),
        ("bert-tiny", linear),
        ("bloom-tiny", &["--method", "ia3"][..]),
        ("t5-tiny", &["--method", "layer_norm"][..]),
    ] {
        let run = place.run(model, method);
        let base = fixture(model);
        let tuned = place.states(&base, Some(&run));
        assert!(
            !close(&tuned, &place.states(&base, None)),
            "nothing was tuned"
        );
        for format in ["peft", "merged", "apet"] {
            let folder = format!("{run}-{format}");
            place.said(&["export", &run, "--format", format, "-o", &folder]);
            let card = fs::read_to_string(place.path(&folder).join("README.md")).unwrap();
            for part in [
                "## Measured",
                "| mine | test | 10 |",
                "## Spec",
                "\"steps\": 4",
            ] {
                assert!(card.contains(part), "{part}: {card}");
            }
        }
        // The head is one that transformers does not have: it is in a separate file, not dropped.
        for format in ["peft", "merged"] {
            assert!(
                place
                    .path(&format!("{run}-{format}/head.safetensors"))
                    .is_file()
            );
        }
        let merged = place.path(&format!("{run}-merged"));
        assert!(
            close(&place.states(&merged, None), &tuned),
            "{model}: merged"
        );
        let theta = format!("{run}-apet/theta.safetensors");
        assert_eq!(place.states(&base, Some(&theta)), tuned, "{model}: apet");
        let words = [
            "import",
            &format!("{run}-peft"),
            "--model",
            base.to_str().unwrap(),
        ];
        place.said(&[&words[..], &["-o", "back.theta.safetensors"]].concat());
        let back = place.states(&base, Some("back.theta.safetensors"));
        assert!(close(&back, &tuned), "{model}: peft");
        // What came in can go out again.
        let model = base.to_str().unwrap();
        let again = format!("{run}-again");
        place.said(&[
            "export",
            "back.theta.safetensors",
            "--format",
            "peft",
            "-o",
            &again,
            "--model",
            model,
        ]);
    }
}

#[test]
fn a_run_goes_on_from_a_theta() {
    let place = Place::new();
    let base = fixture("bert-tiny");
    let apet: &[&str] = &["--method", "apet", "--count", "300", "--seed", "3"];
    for method in [apet, &["--method", "lora"]] {
        let first = place.run("bert-tiny", method);
        // A rate of 0 leaves what it begins with.
        let go_on = |more: &[&str]| -> serde_json::Value {
            let words = ["run", "--init-from", &first, "--data", "data", "--json"];
            let still = ["--learning-rate", "0", "--steps", "1", "--eval-every", "1"];
            serde_json::from_str(&place.said(&[&words[..], &still, more].concat())).unwrap()
        };
        let second = go_on(&["--seed", "8"]);
        let spec = &second["header"]["spec"];
        assert_eq!(spec["start"]["theta"], format!("{first}-cpu"));
        assert_eq!(
            spec["method"]["name"], method[1],
            "the method of what it begins with"
        );
        assert_eq!(spec["seeds"]["batches"], 8);
        assert_eq!(
            spec["seeds"]["placement"] == 3,
            method == apet,
            "positions stay"
        );
        let second = second["header"]["run"].as_str().unwrap();
        assert_eq!(
            place.states(&base, Some(second)),
            place.states(&base, Some(&first))
        );
        // From its record alone: the theta was kept.
        let record = format!("store/runs/{second}-cpu.jsonl");
        place.said(&["run", "--spec", &record, "--data", "data", "--overwrite"]);
        assert_eq!(
            place.states(&base, Some(second)),
            place.states(&base, Some(&first))
        );
        let other = ["run", "--init-from", &first, "--data", "data"];
        let wrong = place.refused(&[&other[..], &["--method", "bitfit"]].concat());
        assert!(
            wrong.contains("start.theta") && wrong.contains("expected"),
            "{wrong}"
        );
        if method == apet {
            let elsewhere = ["--placement-seed", "4"];
            let wrong = place.refused(&[&other[..], &elsewhere].concat());
            assert!(wrong.contains("start.theta"), "{wrong}");
        }
        fs::remove_dir_all(place.path("store/starts")).unwrap();
        let wrong = place.refused(&["run", "--spec", &record, "--data", "data", "--overwrite"]);
        assert!(wrong.contains("give it with --init-from FILE"), "{wrong}");
    }
}

#[test]
fn a_run_goes_on_from_an_adapter_of_peft() {
    let place = Place::new();
    let base = fixture("bert-tiny");
    let model = base.to_str().unwrap();
    let first = place.run("bert-tiny", &["--method", "lora"]);
    place.said(&["export", &first, "--format", "peft", "-o", "adapter"]);
    let file = "back.theta.safetensors";
    place.said(&["import", "adapter", "--model", model, "-o", file]);
    let words = [
        "run",
        "--init-from",
        file,
        "--model",
        model,
        "--task",
        "mine",
    ];
    let still = ["--learning-rate", "0", "--steps", "1", "--eval-every", "1"];
    let method = [
        "--data", "data", "--seq", "16", "--method", "lora", "--json",
    ];
    let said = place.said(&[&words[..], &still, &method].concat());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let second = said["header"]["run"].as_str().unwrap();
    let (first, second) = (
        place.states(&base, Some(&first)),
        place.states(&base, Some(second)),
    );
    assert!(close(&second, &first));
}

#[test]
fn a_classifier_of_transformers_is_in_the_adapter_and_in_the_model() {
    let place = Place::new();
    let run = place.run("bert-tiny", &["--method", "lora", "--pooling", "pooler"]);
    place.said(&["export", &run, "--format", "peft", "-o", "adapter"]);
    place.said(&["export", &run, "--format", "merged", "-o", "model"]);
    let config = fs::read_to_string(place.path("adapter/adapter_config.json")).unwrap();
    assert!(config.contains("\"SEQ_CLS\""), "{config}");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("model/config.json")).unwrap()).unwrap();
    assert_eq!(config["architectures"][0], "BertForSequenceClassification");
    assert_eq!(config["id2label"]["1"], "1");
    for (file, name) in [
        (
            "adapter/adapter_model.safetensors",
            "base_model.model.classifier.weight",
        ),
        ("model/model.safetensors", "classifier.weight"),
    ] {
        let bytes = fs::read(place.path(file)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor(name).unwrap().shape(), [2, 64]);
    }
}

#[test]
fn what_can_not_leave_or_come_is_refused_and_nothing_is_written() {
    let place = Place::new();
    let run = place.run("bert-tiny", &["--method", "adapter"]);
    let base = fixture("bert-tiny");
    let model = base.to_str().unwrap();
    for (words, sentence) in [
        (
            &["export", &run, "--format", "peft", "-o", "out"][..],
            "is a bottleneck adapter, which peft does not have; export it as apet",
        ),
        (
            &["export", &run, "--format", "merged", "-o", "out"],
            "is an adapter, which no tensor of the model can hold; export it as apet",
        ),
        (
            &["export", "nothing", "--format", "apet", "-o", "out"],
            "found no such file, and no run with a theta in the store",
        ),
        (
            &["export", "texts.txt", "--format", "apet", "-o", "out"],
            "texts.txt: expected a theta file",
        ),
        (
            &["export", &run, "--format", "apet", "-o", "data"],
            "data: is there already",
        ),
        (
            &["import", "data", "--model", model, "-o", "out"],
            "data/adapter_config.json: cannot be read; expected a directory that peft saved",
        ),
        (
            &[
                "forward",
                "--model",
                model,
                "--texts",
                "texts.txt",
                "-o",
                "out",
                "--theta",
                "texts.txt",
            ],
            "texts.txt: expected a theta file",
        ),
    ] {
        let text = place.refused(words);
        assert!(text.contains(sentence), "{text}");
        assert!(!place.path("out").exists(), "{words:?}");
    }
    // A theta of another model.
    let t5 = fixture("t5-tiny");
    let words = [
        "forward",
        "--model",
        t5.to_str().unwrap(),
        "--texts",
        "texts.txt",
        "-o",
        "out",
        "--theta",
        &run,
    ];
    let text = place.refused(&words);
    assert!(
        text.contains("t5-tiny has no such tensor or place"),
        "{text}"
    );
    let text = place.refused(&[
        "run", "--model", model, "--task", "mine", "--data", "data", "--count", "lots",
    ]);
    assert!(
        text.contains("--count: found \"lots\", expected a number, a share such as \"0.01%\""),
        "{text}"
    );
    let text = place.refused(&[
        "run", "--model", model, "--task", "mine", "--data", "data", "--select", "best",
    ]);
    assert!(
        text.contains("unknown variant `best`, expected one of `element`"),
        "{text}"
    );
    let text = place.refused(&[
        "run", "--model", model, "--task", "mine", "--data", "data", "--sites", "(",
    ]);
    assert!(
        text.contains("method.pool.sites: found an invalid regular expression"),
        "{text}"
    );
}

/// A run that chose its places by a mask or by gradients goes on where it stood, and can be
/// repeated from its record's spec alone.
#[test]
fn chosen_places_survive_and_masks_are_kept() {
    let place = Place::new();
    let base = fixture("bert-tiny");
    let model = base.to_str().unwrap();
    let name = "encoder.layer.0.attention.self.query.weight";
    let ones = vec![1u8; 64 * 64];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![64, 64], &ones);
    let bytes = safetensors::serialize([(name, view.unwrap())], None).unwrap();
    fs::write(place.path("mine.safetensors"), bytes).unwrap();
    let common = [
        "run", "--model", model, "--task", "mine", "--data", "data", "--steps", "2",
    ];
    let common = [&common[..], &["--batch", "4", "--seq", "16", "--json"]].concat();
    let value: serde_json::Value = serde_json::from_str(
        &place.said(
            &[
                &common[..],
                &["--count", "40", "--mask", "mine.safetensors"],
            ]
            .concat(),
        ),
    )
    .unwrap();
    assert_eq!(value["header"]["theta"]["weights"], 1);
    let hash = value["header"]["theta"]["positions_hash"].clone();
    // The mask's file may go: the store has it under its hash.
    fs::remove_file(place.path("mine.safetensors")).unwrap();
    fs::write(place.path("spec.json"), value["header"]["spec"].to_string()).unwrap();
    let again = [
        "run",
        "--spec",
        "spec.json",
        "--data",
        "data",
        "--overwrite",
        "--json",
    ];
    let value: serde_json::Value = serde_json::from_str(&place.said(&again)).unwrap();
    assert_eq!(value["header"]["theta"]["positions_hash"], hash);
    for select in ["magnitude", "gradient", "snip"] {
        let words = [&common[..], &["--count", "40", "--select", select]].concat();
        let value: serde_json::Value = serde_json::from_str(&place.said(&words)).unwrap();
        assert_eq!(
            value["header"]["theta"]["trainable_parameters"], 40,
            "{select}"
        );
    }
}
