//! `apet models`: the table, and plans.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

use std::process::{Command, Output};

use serde_json::Value;

fn models(words: &[&str]) -> Output {
    let store = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_apet"))
        .arg("models")
        .args(words)
        .env("APET_HOME", store.path())
        .output()
        .unwrap()
}

fn said(words: &[&str]) -> String {
    let output = models(words);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_table_has_every_family_with_its_sizes() {
    let value: Value = serde_json::from_str(&said(&["--json"])).unwrap();
    let rows = value["models"].as_array().unwrap();
    for family in ["bert", "mpnet", "t5", "bloom", "llama", "qwen2", "gpt_neox"] {
        assert!(rows.iter().any(|row| row["family"] == family), "{family}");
    }
    // What comes inside the binary is first, small before large.
    let inside = [
        "ladder-nano",
        "ladder-decoder",
        "ladder-micro",
        "ladder-small",
    ];
    let first: Vec<&Value> = rows.iter().take(4).map(|row| &row["name"]).collect();
    assert_eq!(first, inside);
    assert!(rows.iter().take(4).all(|row| row["in_store"] == true));
    let bloom = rows.iter().find(|row| row["name"] == "bloom-560m").unwrap();
    assert_eq!(bloom["parameters"], 559_214_592);
    assert_eq!(bloom["bytes"], 559_214_592u64 * 4);
    // Its token table is tied to its head, and counted once.
    let without = 559_214_592 - 250_880 * 1024;
    assert_eq!(bloom["parameters_without_embeddings"], without);
    let table = said(&[]);
    assert_eq!(table.lines().count(), rows.len() + 2);
}

#[test]
fn a_paper_scale_run_is_planned_without_the_hardware() {
    let words = "--plan bloom-7b1 --method apet --count 4096 --batch 16 --seq 128 --dtype bf16";
    let words: Vec<&str> = words.split(' ').collect();
    let text = said(&words);
    for line in [
        "weights, bf16",
        "theta",
        "optimizer state",
        "16 x 128",
        "peak",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let json: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let plan: Value = serde_json::from_str(&said(&json)).unwrap();
    let bytes = |what: &str| plan["bytes"][what].as_u64().unwrap();
    assert_eq!(plan["theta"]["trainable_parameters"], 4096);
    // Theta and the head (4,096 x 2 + 2), two means of each.
    assert_eq!(bytes("optimizer"), 2 * 4 * (4096 + 4096 * 2 + 2));
    // Matrices in half precision, vectors not.
    assert!((1.0..1.001).contains(&(bytes("weights") as f64 / (2.0 * 7_069_016_064.0))));
    let parts = ["weights", "theta", "optimizer", "step"].map(bytes);
    assert_eq!(parts.iter().sum::<u64>(), bytes("peak"));
}

#[test]
fn what_can_not_be_planned_is_refused() {
    for (words, sentence) in [
        (
            "--plan nothing",
            "\"nothing\" is not in the store (which is empty) and no directory",
        ),
        (
            "--plan bert-base --objective label_words",
            "bert-base is an encoder and writes none",
        ),
        (
            "--plan bert-base --method apet --count 999999999",
            "method.count",
        ),
        ("--labels 3", "--plan"),
        ("--count 3", "belong to --plan NAME"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = models(&words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && error.contains(sentence),
            "{error}"
        );
    }
}
