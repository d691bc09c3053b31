//! `apet pretrain`, with the binary as a user runs it: a killed run resumes with the same losses, and the output
//! is a model that the other commands accept.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const LADDER: &str = r#"
corpus = "train.txt"
validation = "validation.txt"
about = "Sentences of a test."
vocabulary = 400
[recipe]
steps = 300
batch_size = 16
length = 32
learning_rate = 3e-3
warmup = 10
validate_every = 100
validate_on = 16
[[model]]
name = "encoder"
config = { model_type = "bert", hidden_size = 64, num_hidden_layers = 2, num_attention_heads = 2, intermediate_size = 128, max_position_embeddings = 32, pad_token_id = 0 }
[[model]]
name = "decoder"
config = { model_type = "bloom", hidden_size = 64, n_layer = 2, n_head = 2, eos_token_id = 0, pad_token_id = 1 }
"#;

/// A folder with the ladder and its texts: sentences from a grammar, so that there is something to learn.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let who = ["the cat", "a dog", "my friend", "the old man", "nobody"];
    let does = ["sees", "likes", "follows", "hears", "forgets"];
    let text = |from: usize, to: usize| -> String {
        let line = |n: usize| {
            let word = |words: &[&'static str; 5], by: usize| words[(n / by + n * by) % 5];
            format!(
                "{} {} {} .\n",
                word(&who, 3),
                word(&does, 7),
                word(&who, 11)
            )
        };
        (from..to).map(line).collect()
    };
    fs::write(folder.path().join("train.txt"), text(0, 3000)).unwrap();
    fs::write(folder.path().join("validation.txt"), text(5000, 5400)).unwrap();
    fs::write(folder.path().join("ladder.toml"), LADDER).unwrap();
    folder
}

fn pretrain(folder: &Path, out: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apet"));
    command.arg("pretrain").arg(folder.join("ladder.toml"));
    command.arg("--out").arg(folder.join(out));
    command.args(["--checkpoint-every", "10"]).args(words);
    command.env("APET_HOME", folder.join("home"));
    command.stdin(Stdio::null());
    command
}

fn done(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}

fn file(folder: &Path, out: &str, name: &str) -> PathBuf {
    folder.join(out).join(name)
}

#[test]
fn a_killed_pretraining_goes_on_with_the_same_losses() {
    let folder = folder();
    let folder = folder.path();
    for model in ["encoder", "decoder"] {
        let words = ["--model", model];
        done(pretrain(folder, "whole", &words));
        let mut child = pretrain(folder, "cut", &words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let checkpoint = file(
            folder,
            "cut",
            &format!("work/{model}.checkpoint.safetensors"),
        );
        let begun = Instant::now();
        while !checkpoint.is_file() {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "no checkpoint came"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let log = |out: &str| {
            fs::read_to_string(file(folder, out, &format!("work/{model}.jsonl"))).unwrap()
        };
        let unfinished = !file(folder, "cut", &format!("{model}/model.safetensors")).is_file();
        assert!(unfinished, "{model}: it was killed too late");
        done(pretrain(folder, "cut", &words));
        let (cut, whole) = (log("cut"), log("whole"));
        for (cut, whole) in cut.lines().zip(whole.lines()) {
            assert_eq!(cut, whole, "{model}");
        }
        assert_eq!(cut.len(), whole.len(), "{model}");
        let weights =
            |out: &str| fs::read(file(folder, out, &format!("{model}/model.safetensors"))).unwrap();
        assert!(weights("cut") == weights("whole"), "{model}: other weights");

        // It has learned: it predicts the held-out text better than the most frequent token does.
        let lines = log("whole");
        let validations: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &serde_json::Value| line["kind"] == "validation")
            .collect();
        assert_eq!(validations.len(), 3);
        let loss = |at: usize| validations[at]["loss"].as_f64().unwrap();
        assert!(loss(2) < 0.8 * loss(0), "{model}: {validations:?}");
        let again = done(pretrain(folder, "whole", &words));
        assert!(String::from_utf8_lossy(&again.stdout).contains("is there"));
    }
    // The output works as a model: hidden states, and generated text from the decoder.
    let apet = |words: &[&str], model: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_apet"));
        command
            .args(words)
            .arg("--model")
            .arg(file(folder, "whole", model));
        command.env("APET_HOME", folder.join("home"));
        String::from_utf8_lossy(&done(command).stdout).into_owned()
    };
    let text = apet(&["generate", "--prompt", "the cat sees"], "decoder");
    assert!(text.contains("the cat sees"), "{text}");
    assert!(
        fs::read_to_string(file(folder, "whole", "encoder/README.md"))
            .unwrap()
            .contains("Sentences of a test.")
    );
}

#[test]
fn what_does_not_fit_is_refused_in_one_sentence() {
    let folder = folder();
    let folder = folder.path();
    for (from, to, expected) in [
        (
            "vocabulary = 400",
            "vocabulary = 40",
            "vocabulary: found 40, expected 300 to 65535",
        ),
        ("length = 32", "length = 64", "length: found 64"),
        ("steps = 300", "stesp = 300", "unknown field `stesp`"),
        (
            "model_type = \"bert\"",
            "model_type = \"gpt\"",
            "found \"gpt\", expected bert or bloom",
        ),
        ("train.txt", "none.txt", "none.txt"),
    ] {
        fs::write(folder.join("ladder.toml"), LADDER.replacen(from, to, 1)).unwrap();
        let output = pretrain(folder, "out", &["--model", "encoder"])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{from}");
        assert!(errors.contains(expected), "{errors}");
    }
    let output = pretrain(folder, "out", &["--minutes=-1"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--minutes: found -1, expected"), "{errors}");
    fs::write(folder.join("ladder.toml"), LADDER).unwrap();
    let output = pretrain(folder, "out", &["--model", "other"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("has the models encoder, decoder"));
}
