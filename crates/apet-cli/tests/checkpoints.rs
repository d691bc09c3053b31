//! Checkpoints of every form, and tokenizers, against what the packages of others make of them.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use apet_plm::Tokenizer;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(path)
}

fn apet(words: &[&str], paths: &[&Path]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_apet"));
    command.args(words).args(paths);
    command.env("APET_HOME", home.path()).output().unwrap()
}

fn succeeds(words: &[&str], paths: &[&Path]) -> String {
    let output = apet(words, paths);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(words: &[&str], paths: &[&Path]) -> String {
    let output = apet(words, paths);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.starts_with("error: "),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Numbers of any stored type, as f32 bits.
fn bits(view: &TensorView<'_>) -> Vec<u32> {
    let two = || view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    match view.dtype() {
        Dtype::F32 => {
            let four = view.data().chunks_exact(4);
            four.map(|b| u32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        }
        Dtype::F16 => two()
            .map(|b| half::f16::from_le_bytes(b).to_f32().to_bits())
            .collect(),
        _ => two()
            .map(|b| half::bf16::from_le_bytes(b).to_f32().to_bits())
            .collect(),
    }
}

fn compare(found: &Path, expected: &Path) {
    let (found, expected) = (fs::read(found).unwrap(), fs::read(expected).unwrap());
    let found = SafeTensors::deserialize(&found).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    assert_eq!(found.len(), expected.len());
    for (name, tensor) in expected.tensors() {
        let found = found.tensor(&name).unwrap();
        assert_eq!(found.shape(), tensor.shape(), "{name}");
        assert!(bits(&found) == bits(&tensor), "{name} has other numbers");
    }
}

#[test]
fn a_gguf_file_is_read_as_the_gguf_package_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = fixture("llama-tiny/model.gguf");
    succeeds(&["convert", "-o"], &[folder.path(), &gguf]);
    compare(
        &folder.path().join("model.safetensors"),
        &fixture("llama-tiny/model.gguf.safetensors"),
    );
    let config = fs::read_to_string(folder.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let published = fs::read_to_string(fixture("llama-tiny/config.json")).unwrap();
    let published: Value = serde_json::from_str(&published).unwrap();
    for field in [
        "model_type",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "tie_word_embeddings",
        "eos_token_id",
    ] {
        assert_eq!(config[field], published[field], "{field}");
    }
    tokens(&folder.path().join("tokenizer.json"), "llama-tiny");
    let json = succeeds(
        &[
            "generate", "--json", "--most", "5", "--prompt", "The food", "--model",
        ],
        &[folder.path()],
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(!json["ids"][0].as_array().unwrap().is_empty());
}

/// The ids of texts, and texts of ids, are those of the reference.
fn tokens(tokenizer: &Path, golden: &str) {
    tokens_of(tokenizer, &fixture(golden).join("tokens.json"));
}

fn tokens_of(tokenizer: &Path, golden: &Path) {
    let bytes = fs::read(tokenizer).unwrap();
    let tokenizer = Tokenizer::read("tokenizer.json", &bytes, 512).unwrap();
    let rows = fs::read_to_string(golden).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    for row in rows {
        let text = row["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        let found = tokenizer.encode([(text, None)], 512).unwrap();
        assert_eq!(found[0].ids, ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), row["decoded"], "{text:?}");
    }
}

#[test]
fn tokenizers_of_every_family_give_the_ids_of_the_reference() {
    tokens(&fixture("bert-tiny/tokenizer.json"), "bert-tiny"); // WordPiece
    tokens(&fixture("llama-tiny/tokenizer.json"), "llama-tiny"); // byte-level BPE
    tokens(&fixture("t5-tiny/tokenizer.json"), "t5-tiny"); // Unigram
    let spiece = |file: &str| fixture("t5-tiny").join(format!("spiece.{file}"));
    tokens_of(&spiece("tokenizer.json"), &spiece("tokens.json")); // SentencePiece itself
}

/// bert-tiny without its `model.safetensors`.
fn directory() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    let folder = builder.prefix("bert-").tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        let from = fixture("bert-tiny").join(file);
        fs::copy(from, folder.path().join(file)).unwrap();
    }
    folder
}

/// pytorch_model.bin in two, and its index.
const PICKLES: [&str; 3] = [
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model-00002-of-00002.bin",
    "pytorch_model.bin.index.json",
];

fn states(model: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (texts, out) = (folder.path().join("t"), folder.path().join("o.safetensors"));
    fs::write(&texts, "the food was good\n").unwrap();
    let words = ["forward", "--texts"];
    succeeds(
        &words,
        &[&texts, Path::new("-o"), &out, Path::new("--model"), model],
    );
    fs::read(out).unwrap()
}

#[test]
fn pytorch_and_sharded_checkpoints_are_what_the_one_file_is() {
    let whole = states(&fixture("bert-tiny"));

    let pickled = directory();
    let bin = fixture("bert-tiny/pytorch_model.bin");
    fs::copy(bin, pickled.path().join("pytorch_model.bin")).unwrap();
    assert!(states(pickled.path()) == whole);

    let sharded = directory();
    let bytes = fs::read(fixture("bert-tiny/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    let mut shards = [Vec::new(), Vec::new()];
    for (i, (name, tensor)) in file.tensors().into_iter().enumerate() {
        let shard = format!("model-{}-of-2.safetensors", i % 2 + 1);
        map.insert(name.clone(), shard.into());
        shards[i % 2].push((name, tensor));
    }
    for (i, shard) in shards.into_iter().enumerate() {
        let bytes = safetensors::serialize(shard, None).unwrap();
        let name = format!("model-{}-of-2.safetensors", i + 1);
        fs::write(sharded.path().join(name), bytes).unwrap();
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    let index_file = sharded.path().join("model.safetensors.index.json");
    fs::write(&index_file, &index).unwrap();
    assert!(states(sharded.path()) == whole);

    let pickles = directory();
    for file in PICKLES {
        let from = fixture("bert-tiny").join(file);
        fs::copy(from, pickles.path().join(file)).unwrap();
    }
    assert!(states(pickles.path()) == whole);

    for from in [pickled.path(), sharded.path(), pickles.path()] {
        let out = tempfile::tempdir().unwrap();
        succeeds(&["convert", "-o"], &[out.path(), from]);
        compare(
            &out.path().join("model.safetensors"),
            &fixture("bert-tiny/model.safetensors"),
        );
    }

    fs::remove_file(sharded.path().join("model-2-of-2.safetensors")).unwrap();
    let said = refused(
        &["forward", "--texts", "t", "-o", "o", "--model"],
        &[sharded.path()],
    );
    assert!(said.contains('t'), "{said}");
    fs::write(&index_file, index.replace("model-2", "../model-2")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let said = refused(&["convert", "-o"], &[out.path(), sharded.path()]);
    assert!(
        said.contains("expected names of .safetensors files in its folder"),
        "{said}"
    );
}

#[test]
fn broken_files_are_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let whole = fs::read(fixture("llama-tiny/model.gguf")).unwrap();
    let file = folder.path().join("x.gguf");
    for cut in [0, 3, 10, 200, 20_000, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        let said = refused(&["convert", "-o"], &[&out, &file]);
        assert!(said.contains("x.gguf"), "{said}");
        assert!(!out.join("model.safetensors").exists());
    }
    let mut long = whole.clone();
    long[8..16].copy_from_slice(&u64::MAX.to_le_bytes()); // tensors
    fs::write(&file, &long).unwrap();
    let said = refused(&["convert", "-o"], &[&out, &file]);
    assert!(said.contains("expected at most"), "{said}");
    fs::write(&file, b"not a model").unwrap();
    let said = refused(&["convert", "-o"], &[&out, &file]);
    assert!(said.contains("expected a GGUF file"), "{said}");

    let pickled = directory();
    let bin = fs::read(fixture("bert-tiny/pytorch_model.bin")).unwrap();
    fs::write(pickled.path().join("pytorch_model.bin"), &bin[..9000]).unwrap();
    let said = refused(&["convert", "-o"], &[&out, pickled.path()]);
    assert!(said.contains("pytorch_model.bin"), "{said}");
}

#[test]
fn wrong_shards_of_pytorch_are_refused_with_a_sentence() {
    let folder = directory();
    let put = |file: &str, bytes: &[u8]| fs::write(folder.path().join(file), bytes).unwrap();
    let [one, two, index] = PICKLES.map(|file| fs::read(fixture("bert-tiny").join(file)).unwrap());
    let index = String::from_utf8(index).unwrap();
    let out = folder.path().join("out");
    let said = |place: &str| {
        let said = refused(&["convert", "-o"], &[&out, folder.path()]);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(place), "{said}");
        assert!(!out.exists());
        // `apet fetch DIR` says the same.
        let fetched = refused(&["fetch"], &[folder.path()]);
        assert_eq!(fetched.lines().count(), 1, "{fetched}");
        assert!(fetched.contains(place), "{fetched}");
        said
    };
    put(PICKLES[0], &one);
    put(PICKLES[2], index.as_bytes());
    assert!(said(PICKLES[1]).contains("cannot be read"));
    put(PICKLES[1], &two[..two.len() / 2]);
    assert!(said(PICKLES[1]).contains("it may be cut"));
    put(PICKLES[1], &one);
    assert!(said(PICKLES[1]).contains("is in another shard, too"));
    put(PICKLES[1], &two);
    for (bad, problem) in [
        (
            index.replace("pytorch_model-00002", "../x"),
            "expected names of .bin files in its folder",
        ),
        (
            index.replace(".bin", ".safetensors"),
            "expected names of .bin files in its folder",
        ),
        (
            index[..index.len() / 2].to_owned(),
            "expected {\"weight_map\": {tensor: file}}",
        ),
        ("{\"weight_map\":{}}".into(), "names no file"),
    ] {
        put(PICKLES[2], bad.as_bytes());
        let said = said(PICKLES[2]);
        assert!(said.contains(problem), "{said}");
    }
}
