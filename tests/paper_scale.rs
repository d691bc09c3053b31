//! Models of the paper's size, with random weights: BLOOM-560M and T5 v1.1 base, written as
//! sharded bf16 checkpoints, are loaded, write text and are tuned on `cpu`.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use apet_plm::{Config, Dtype, Outline, Random, Weights};
use serde_json::{Map, Value, json};

/// Bytes of a shard, about.
const SHARD: usize = 300 << 20;

/// Bytes of a tensor.
fn bytes(weights: &Random, name: &str) -> usize {
    let shape = weights.info(name).unwrap().shape;
    shape.iter().product::<usize>() * Dtype::Bf16.size()
}

/// Writes a Hugging Face directory: config.json, a small tokenizer, and shards with their index.
fn write(folder: &Path, config: &Value, tokenizer: &str) -> usize {
    let text = config.to_string();
    fs::write(folder.join("config.json"), &text).unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
    let from = format!("{fixtures}/{tokenizer}/tokenizer.json");
    fs::copy(from, folder.join("tokenizer.json")).unwrap();
    let outline = Outline::of("random", Config::read("config.json", &text).unwrap());
    let weights = Random::of(&outline, Dtype::Bf16);
    let mut shards: Vec<Vec<&str>> = vec![Vec::new()];
    let mut size = 0;
    for name in weights.names() {
        if size > SHARD {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes(&weights, name);
        shards.last_mut().unwrap().push(name);
    }
    let count = shards.len();
    let mut index = Map::new();
    for (number, names) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
        let (mut header, mut end) = (Map::new(), 0);
        for &name in names {
            let (shape, size) = (weights.info(name).unwrap().shape, bytes(&weights, name));
            let about = json!({"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]});
            header.insert(name.into(), about);
            index.insert(name.into(), file.clone().into());
            end += size;
        }
        let header = Value::Object(header).to_string();
        let mut out = BufWriter::new(File::create(folder.join(file)).unwrap());
        out.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        out.write_all(header.as_bytes()).unwrap();
        // In the order of the header's offsets.
        let mut piece = vec![0; 1 << 20];
        for &name in names {
            let size = bytes(&weights, name);
            for offset in (0..size).step_by(piece.len()) {
                let length = piece.len().min(size - offset);
                weights
                    .read(name, offset as u64, &mut piece[..length])
                    .unwrap();
                out.write_all(&piece[..length]).unwrap();
            }
        }
        out.flush().unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": index}).to_string();
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    count
}

fn apet(store: &Path, words: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_apet"))
        .args(words)
        .env("APET_HOME", store)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_tuned(config: &Value, tokenizer: &str, parameters: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (folder.path().join("random"), folder.path().join("data"));
    for folder in [&model, &data] {
        fs::create_dir(folder).unwrap();
    }
    assert!(write(&model, config, tokenizer) > 1, "one shard");
    let row = |label: &str| {
        let text = "the food was good and the service was not ".repeat(6);
        json!({"text": text, "label": label}).to_string() + "\n"
    };
    for split in ["train", "validation", "test"] {
        let rows = row("negative") + &row("positive");
        fs::write(data.join(format!("{split}.jsonl")), rows).unwrap();
    }
    let model = model.to_str().unwrap();
    let words = [
        "generate", "--json", "--dtype", "bf16", "--most", "3", "--prompt", "The food", "--model",
        model,
    ];
    let written = apet(folder.path(), &words);
    let ids = written["ids"][0].as_array().unwrap();
    assert!(ids.len() <= 3);
    let mut words = vec![
        "run", "--json", "--model", model, "--task", "mine", "--data",
    ];
    words.push(data.to_str().unwrap());
    words.extend("--dtype bf16 --objective label_words --count 4096 --steps 5".split(' '));
    words.extend("--batch-size 1 --max-length 64 --learning-rate 0.01".split(' '));
    let summary = apet(folder.path(), &words);
    println!("{summary}");
    assert_eq!(summary["summary"]["status"], "done");
    // The record says what was there: all of it, and what was tuned of it.
    let runs = fs::read_dir(folder.path().join("runs")).unwrap();
    let record = runs
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let record = fs::read_to_string(record.unwrap()).unwrap();
    let lines: Vec<Value> = record
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["model"]["parameters"], parameters);
    assert_eq!(lines[0]["theta"]["realised"], 4096);
    assert_eq!(lines[0]["theta"]["head"], 0);
    let losses = lines.iter().filter(|line| line["kind"] == "step");
    let losses: Vec<f64> = losses.map(|line| line["loss"].as_f64().unwrap()).collect();
    assert_eq!(losses.len(), 5);
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    assert!(losses[4] < losses[0], "{losses:?}");
}

#[test]
fn bloom_560m_is_tuned() {
    let config = json!({
        "model_type": "bloom", "vocab_size": 250_880, "hidden_size": 1024, "n_layer": 24,
        "n_head": 16, "eos_token_id": 2, "pad_token_id": 3,
    });
    is_tuned(&config, "bloom-tiny", 559_214_592);
}

#[test]
fn t5_v1_1_base_is_tuned() {
    let config = json!({
        "model_type": "t5", "vocab_size": 32_128, "d_model": 768, "d_kv": 64, "d_ff": 2048,
        "num_layers": 12, "num_heads": 12, "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": false, "eos_token_id": 1, "pad_token_id": 0,
    });
    is_tuned(&config, "t5-tiny", 247_577_856);
}
