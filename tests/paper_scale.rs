//! Models of the paper's size with random weights: BLOOM-560M and T5 v1.1 base, written as
//! sharded bf16 checkpoints, are loaded, generate text and are trained on `cpu`, within the planned memory. Killed or
//! stopped runs resume with the same losses.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use apet_plm::{Config, Dtype, ModelArchitecture, Random, Weights};
use apet_record::{RunRecord, Status};
use serde_json::{Map, Value, json};

/// Approximate bytes of a shard.
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
    let architecture =
        ModelArchitecture::new("random", Config::read("config.json", &text).unwrap());
    let weights = Random::new(&architecture, Dtype::Bf16);
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

/// A model with random weights, and a task.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(config: &Value, tokenizer: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Self { folder };
        for name in ["random", "data"] {
            fs::create_dir(home.path(name)).unwrap();
        }
        let shards = write(&home.path("random"), config, tokenizer);
        assert!(shards > 1, "one shard");
        let row = |label: &str| {
            let text = "the food was good and the service was not ".repeat(6);
            json!({"text": text, "label": label}).to_string() + "\n"
        };
        for split in ["train", "validation", "test"] {
            let rows = row("negative") + &row("positive");
            fs::write(home.path(&format!("data/{split}.jsonl")), rows).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command whose runs are in the folder `runs`.
    fn command(&self, runs: &str, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_apet"));
        command.args(words.split_whitespace());
        command.env("APET_HOME", self.path(runs));
        command
    }

    fn json(&self, runs: &str, words: &str) -> Value {
        let output = self.command(runs, words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn record(&self, runs: &str) -> Option<RunRecord> {
        let files = fs::read_dir(self.path(runs).join("runs")).ok()?;
        let mut files = files.map(|entry| entry.unwrap().path());
        let path = files.find(|path| path.extension().is_some_and(|end| end == "jsonl"))?;
        let text = fs::read_to_string(path).unwrap();
        RunRecord::parse(&text).ok()?.pop()
    }

    /// Starts a run, sends it a signal once it has recorded `steps` steps, and returns its record.
    fn signalled(&self, signal: &str, steps: usize, mut command: Command) -> RunRecord {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let done = || {
            let record = self.record("stopped");
            record.map_or(0, |record| record.steps().len())
        };
        let begun = Instant::now();
        while done() < steps {
            assert!(
                begun.elapsed() < Duration::from_secs(300),
                "no {steps} steps"
            );
            thread::sleep(Duration::from_millis(5));
        }
        let kill = format!("kill -{signal} {}", child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
        child.wait().unwrap();
        self.record("stopped").unwrap()
    }
}

type Told = Vec<(usize, f64)>;

/// Every loss and every score.
fn told(record: &RunRecord) -> (Told, Told) {
    let steps = record.steps().iter().map(|s| (s.step, s.loss)).collect();
    let evals = record
        .evals("dev")
        .iter()
        .map(|e| (e.step, e.score))
        .collect();
    (steps, evals)
}

fn is_tuned(config: &Value, tokenizer: &str, parameters: u64) {
    let home = Home::new(config, tokenizer);
    let model = home.path("random").display().to_string();
    let data = home.path("data").display().to_string();
    let words = format!("generate --json --dtype bf16 --most 3 --prompt The --model {model}");
    let written = home.json("generated", &words);
    assert!(written["ids"][0].as_array().unwrap().len() <= 3);
    for method in [
        "apet --count 4096 --learning-rate 0.01",
        "lora --learning-rate 0.01",
        "adapter --learning-rate 0.01",
    ] {
        let settings = format!(
            "--dtype bf16 --objective label_words --method {method} --steps 5 --checkpoint-every 1 --batch-size 1 --max-length 64 --dev-rows 2 --test-rows 2"
        );
        let plan = home.json("plan", &format!("models --json --plan {model} {settings}"));
        let planned = plan["bytes"]["peak"].as_u64().unwrap();
        let run = format!("run --json --model {model} --task mine --data {data} {settings}");
        let summary = home.json("whole", &run)["summary"].clone();
        let whole = home.record("whole").unwrap();
        fs::remove_dir_all(home.path("whole")).unwrap();
        let took = summary["peak_bytes"].as_u64().unwrap();
        let ratio = planned as f64 / took as f64;
        println!("{method}: {summary}, planned {planned}, {ratio:.3}");
        assert!((0.9..=1.1).contains(&ratio), "{method}: {ratio}");

        // The record has the model's total and the trainable parameters.
        assert_eq!(whole.status(), Status::Done);
        assert_eq!(whole.header.model.parameters, parameters);
        assert_eq!(
            plan["theta"]["trainable_parameters"],
            whole.header.theta.trainable_parameters
        );
        assert_eq!(whole.header.theta.head, 0);
        let (losses, _) = told(&whole);
        assert_eq!(losses.len(), 5);
        assert!(
            losses.iter().all(|(_, loss)| loss.is_finite()),
            "{losses:?}"
        );
        assert!(losses[4].1 < losses[0].1, "{method}: {losses:?}");

        // Killed, stopped, and resumed: the same losses.
        let again = format!("run --resume {} --data {data}", whole.header.run);
        let killed = home.signalled("KILL", 2, home.command("stopped", &run));
        assert_eq!(killed.status(), Status::Unfinished, "{method}");
        let ended = home.signalled("TERM", 3, home.command("stopped", &again));
        assert_eq!(ended.status(), Status::Stopped, "{method}");
        assert!(
            home.command("stopped", &again)
                .output()
                .unwrap()
                .status
                .success()
        );
        assert_eq!(
            told(&home.record("stopped").unwrap()),
            told(&whole),
            "{method}"
        );
        fs::remove_dir_all(home.path("stopped")).unwrap();
    }
}

#[test]
fn bloom_560m_is_tuned_and_goes_on() {
    let config = json!({
        "model_type": "bloom", "vocab_size": 250_880, "hidden_size": 1024, "n_layer": 24,
        "n_head": 16, "eos_token_id": 2, "pad_token_id": 3,
    });
    is_tuned(&config, "bloom-tiny", 559_214_592);
}

#[test]
fn t5_v1_1_base_is_tuned_and_goes_on() {
    let config = json!({
        "model_type": "t5", "vocab_size": 32_128, "d_model": 768, "d_kv": 64, "d_ff": 2048,
        "num_layers": 12, "num_heads": 12, "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": false, "eos_token_id": 1, "pad_token_id": 0,
    });
    is_tuned(&config, "t5-tiny", 247_577_856);
}
