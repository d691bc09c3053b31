//! `apet fetch ORG/REPO` against a stand-in for the Hugging Face hub on this machine, which
//! counts what it is asked.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preparation does"
)]

#[path = "hub/pythia.rs"]
mod pythia;
#[path = "hub/stand_in.rs"]
mod stand_in;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use self::stand_in::{Asked, COMMIT, Hub};

const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

fn fixture(file: &str) -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read(here.join("../../tests/fixtures/bert-tiny").join(file)).unwrap()
}

/// A machine with a store and a cache, and no pip.
struct Machine {
    folder: TempDir,
    endpoint: String,
}

struct Ended {
    good: bool,
    out: String,
    err: String,
}

impl Machine {
    fn with(hub: &Hub) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            endpoint: hub.with(|hub| format!("http://localhost:{}/", port(&hub.address))),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_apet"))
            .arg("fetch")
            .args(words)
            .current_dir(self.folder.path())
            .env("APET_HOME", self.path("store"))
            .env("HF_HOME", self.path("hf"))
            .env("HF_ENDPOINT", &self.endpoint)
            .env("PATH", self.path("no programs"))
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("HF_TOKEN")
            .env_remove("HF_TOKEN_PATH")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended {
            good: output.status.success(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    fn succeeds(&self, words: &[&str], variables: &[(&str, &str)]) -> String {
        let ended = self.run(words, variables);
        assert!(ended.good, "{}", ended.err);
        ended.out
    }

    /// The one sentence of what fails.
    fn refused(&self, words: &[&str], variables: &[(&str, &str)]) -> String {
        let ended = self.run(words, variables);
        assert!(!ended.good, "{}", ended.out);
        let lines: Vec<&str> = ended.err.lines().collect();
        assert_eq!(lines.len(), 1, "{}", ended.err);
        lines[0].strip_prefix("error: ").unwrap().to_owned()
    }

    fn stored(&self, name: &str, file: &str) -> Vec<u8> {
        fs::read(self.path("store/models").join(name).join(file)).unwrap()
    }

    fn forget_the_store(&self) {
        fs::remove_dir_all(self.path("store")).unwrap();
    }
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

fn paths(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.path.as_str()).collect()
}

fn is_for_weights(asked: &Asked) -> bool {
    let path = &asked.path;
    path.contains("safetensors") || path.contains("pytorch_model")
}

#[test]
fn a_repository_is_fetched_whole_and_once() {
    let hub = Hub::start(&FILES);
    // Other things of a repository stay where they are.
    hub.put("onnx/model.onnx", "x");
    hub.put("README.md", "x");
    let machine = Machine::with(&hub);
    let said = machine.succeeds(&["Lab/Wee-Bert"], &[]);
    assert!(said.starts_with("wee-bert: Lab/Wee-Bert, in "), "{said}");
    for file in FILES {
        assert!(machine.stored("wee-bert", file) == fixture(file), "{file}");
    }
    let asked = hub.asked();
    let count = |part: &str| paths(&asked).iter().filter(|p| p.contains(part)).count();
    assert_eq!((count("/api/"), count("onnx"), count("README")), (1, 0, 0));
    let resolved = asked.iter().filter(|a| a.path.contains("/resolve/"));
    assert_eq!(resolved.count(), 6, "each file's metadata, and the file");

    let said = machine.succeeds(&["Lab/Wee-Bert"], &[]);
    assert!(said.contains("already in"), "{said}");
    assert!(hub.asked().is_empty());

    // The shared cache has it, and no one is asked: under the branch and under the commit.
    machine.forget_the_store();
    machine.succeeds(&["Lab/Wee-Bert"], &[]);
    let at_commit = format!("Lab/Wee-Bert@{COMMIT}");
    machine.succeeds(&[&at_commit], &[]);
    assert!(hub.asked().is_empty());

    // A damaged object of the cache is brought again, alone.
    let path = format!("hf/hub/models--Lab--Wee-Bert/snapshots/{COMMIT}/model.safetensors");
    fs::write(fs::canonicalize(machine.path(&path)).unwrap(), "damaged").unwrap();
    machine.forget_the_store();
    let said = machine.refused(&["Lab/Wee-Bert"], &[("HF_HUB_OFFLINE", "1")]);
    assert!(
        said.contains("unset HF_HUB_OFFLINE to fetch it again"),
        "{said}"
    );
    assert!(said.contains("found SHA-256"), "{said}");
    machine.succeeds(&["Lab/Wee-Bert"], &[]);
    assert!(machine.stored("wee-bert", FILES[2]) == fixture(FILES[2]));
    let asked = hub.asked();
    assert!(
        asked.iter().all(|a| is_for_weights(a) || a.path == "/"),
        "{asked:?}"
    );
}

#[test]
fn a_published_name_is_a_repository_of_its_shape() {
    let hub = Hub::start(&FILES);
    hub.with(|hub| hub.id = "google-bert/bert-base-uncased");
    let machine = Machine::with(&hub);
    let said = machine.refused(&["bert-base"], &[]);
    let expected = "parameters, expected 109482240 for bert-base";
    assert!(said.ends_with(expected), "{said}");
    assert!(!hub.asked().iter().any(is_for_weights));
}

#[test]
fn offline_the_cache_is_used_and_no_one_is_asked() {
    let hub = Hub::start(&FILES);
    let machine = Machine::with(&hub);
    let offline = [("HF_HUB_OFFLINE", "1")];
    let said = machine.refused(&["Lab/Wee-Bert"], &offline);
    assert!(said.starts_with("HF_HUB_OFFLINE is set"), "{said}");
    let expected = "does not have Lab/Wee-Bert/config.json; unset it to download";
    assert!(said.ends_with(expected), "{said}");
    machine.succeeds(&["Lab/Wee-Bert@v1"], &[]);
    assert!(!hub.asked().is_empty());
    machine.forget_the_store();
    machine.succeeds(&["Lab/Wee-Bert@v1"], &offline);
    assert!(machine.stored("wee-bert", FILES[2]) == fixture(FILES[2]));

    // HF_HUB_CACHE is the folder itself.
    machine.forget_the_store();
    fs::rename(machine.path("hf/hub"), machine.path("elsewhere")).unwrap();
    machine.refused(&["Lab/Wee-Bert@v1"], &offline);
    let elsewhere = machine.path("elsewhere");
    let cache = ("HF_HUB_CACHE", elsewhere.to_str().unwrap());
    machine.succeeds(&["Lab/Wee-Bert@v1"], &[offline[0], cache]);
    assert!(hub.asked().is_empty());
}

#[test]
fn a_token_is_sent_and_never_shown() {
    let hub = Hub::start(&FILES);
    let machine = Machine::with(&hub);
    fs::create_dir_all(machine.path("hf")).unwrap();
    fs::write(machine.path("hf/token"), "of-the-file\n").unwrap();
    let elsewhere = machine.path("elsewhere");
    let cache = ("HF_HUB_CACHE", elsewhere.to_str().unwrap());
    for (variables, token) in [
        (vec![], "Bearer of-the-file"),
        (vec![cache], "Bearer of-the-file"),
        (
            vec![("HF_TOKEN", "of-the-variable")],
            "Bearer of-the-variable",
        ),
    ] {
        machine.succeeds(&["Lab/Wee-Bert"], &variables);
        let asked = hub.asked();
        let to_the_hub = asked
            .iter()
            .filter(|a| a.path.starts_with("/api/") || a.path.contains("/resolve/"));
        let tokens: Vec<&str> = to_the_hub.map(|a| a.token.as_str()).collect();
        assert!(
            tokens.len() > 5 && tokens.iter().all(|t| *t == token),
            "{asked:?}"
        );
        machine.forget_the_store();
        let _ = fs::remove_dir_all(machine.path("hf/hub"));
    }
    hub.with(|hub| hub.refused = Some(("/api/", 403)));
    let said = machine.refused(&["Lab/Wee-Bert"], &[("HF_TOKEN", "of-the-variable")]);
    assert!(
        said.contains("the token that was sent is not enough"),
        "{said}"
    );
    assert!(!said.contains("of-the-variable"), "{said}");
}

#[test]
fn what_can_not_be_had_gets_a_sentence() {
    let hub = Hub::start(&FILES);
    let machine = Machine::with(&hub);
    let endpoint = machine.endpoint.trim_end_matches('/').to_owned();
    for name in ["Lab/Other", "Lab/Wee-Bert@v9"] {
        let said = machine.refused(&[name], &[]);
        let expected = format!("{endpoint} has no {name} (404); check the name and the revision");
        assert_eq!(said, expected);
    }
    // Private or not there: the hub says so at once. Gated: with the first file.
    for (part, code, what) in [
        ("/api/", 401, "Lab/Wee-Bert"),
        ("/resolve/", 401, "Lab/Wee-Bert/config.json"),
        ("/resolve/", 403, "Lab/Wee-Bert/config.json"),
    ] {
        hub.with(|hub| hub.refused = Some((part, code)));
        let said = machine.refused(&["Lab/Wee-Bert"], &[]);
        let expected = format!(
            "{endpoint} does not give {what} ({code}): it is gated, private or not there; check \
             the name, accept the terms at {endpoint}/Lab/Wee-Bert, then set HF_TOKEN to a token \
             of an account that may read it"
        );
        assert_eq!(said, expected);
    }
    hub.with(|hub| hub.refused = None);

    for file in ["tokenizer.json", "model.safetensors"] {
        let bytes = hub.with(|hub| hub.files.remove(file)).unwrap();
        let said = machine.refused(&["Lab/Wee-Bert"], &[]);
        let expected = format!("{endpoint}/Lab/Wee-Bert has no {file}, expected a model with");
        assert!(said.starts_with(&expected), "{said}");
        hub.put(file, bytes);
    }

    // What cannot run is refused before its weights are asked for.
    fs::remove_dir_all(machine.path("hf")).unwrap();
    hub.put("config.json", r#"{"model_type":"mamba"}"#);
    hub.asked();
    let said = machine.refused(&["Lab/Wee-Bert"], &[]);
    let expected = r#"Lab/Wee-Bert/config.json: "model_type": "mamba" is not supported (bert, "#;
    assert!(said.starts_with(expected), "{said}");
    let asked = hub.asked();
    assert!(!asked.iter().any(is_for_weights), "{asked:?}");

    let nobody = ("HF_ENDPOINT", "http://127.0.0.1:9");
    let said = machine.refused(&["Lab/Other"], &[nobody]);
    assert!(
        said.starts_with("http://127.0.0.1:9 does not answer ("),
        "{said}"
    );
    assert!(
        said.ends_with("check the network, or set HF_ENDPOINT to a hub that does"),
        "{said}"
    );
    let said = machine.refused(&["--from", "hf", "Lab/Wee-Bert"], &[]);
    assert!(
        said.contains("--from is for models known by name"),
        "{said}"
    );
    assert!(!machine.path("store").exists());
}

/// Equal tensors, in whatever order.
fn compare(found: &[u8], expected: &[u8]) {
    let found = SafeTensors::deserialize(found).unwrap();
    let expected = SafeTensors::deserialize(expected).unwrap();
    assert_eq!(found.len(), expected.len());
    for (name, tensor) in expected.tensors() {
        assert!(found.tensor(&name).unwrap() == tensor, "{name}");
    }
}

#[test]
fn weights_of_every_form_become_one_file() {
    let expected = fixture("model.safetensors");
    let pickled = [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "pytorch_model.bin.index.json",
    ];
    let texts = &FILES[..2];
    let one = Hub::start(&[texts, &["pytorch_model.bin"]].concat());
    let two = Hub::start(&[texts, &pickled].concat());
    let three = Hub::start(texts);
    let whole = SafeTensors::deserialize(&expected).unwrap();
    let mut map = BTreeMap::new();
    let mut shards = [Vec::new(), Vec::new()];
    for (i, (name, tensor)) in whole.tensors().into_iter().enumerate() {
        map.insert(
            name.clone(),
            format!("model-0000{}-of-00002.safetensors", i % 2 + 1),
        );
        shards[i % 2].push((name, tensor));
    }
    for (i, shard) in shards.into_iter().enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", i + 1);
        three.put(&name, safetensors::serialize(shard, None).unwrap());
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    three.put("model.safetensors.index.json", index);
    // The first form counts: these are not asked for.
    three.put("pytorch_model.bin", "x");

    for (hub, files) in [(&one, 1), (&two, 3), (&three, 3)] {
        let machine = Machine::with(hub);
        machine.succeeds(&["Lab/Wee-Bert"], &[]);
        compare(&machine.stored("wee-bert", "model.safetensors"), &expected);
        let asked = hub.asked();
        let weights = asked
            .iter()
            .filter(|a| is_for_weights(a) && a.path.contains("/resolve/"));
        assert_eq!(weights.count(), 2 * files, "{asked:?}");
        assert!(
            machine
                .succeeds(&["Lab/Wee-Bert"], &[])
                .contains("already in")
        );
        machine.forget_the_store();
        machine.succeeds(&["Lab/Wee-Bert"], &[("HF_HUB_OFFLINE", "1")]);
        assert!(hub.asked().is_empty());
    }

    // An index may only name files in its directory.
    three.put(
        "model.safetensors.index.json",
        r#"{"weight_map":{"a":"../../x.safetensors"}}"#,
    );
    let machine = Machine::with(&three);
    let said = machine.refused(&["Lab/Wee-Bert"], &[]);
    assert!(
        said.starts_with("Lab/Wee-Bert/model.safetensors.index.json: \"weight_map\": found"),
        "{said}"
    );
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let hub = Hub::start(&FILES);
    let machine = Machine::with(&hub);
    // An older state of the model, which stays until the new one is whole.
    machine.succeeds(&["Lab/Wee-Bert@v1"], &[]);
    fs::remove_dir_all(machine.path("hf")).unwrap();
    let mut weights = fixture("model.safetensors");
    let end = weights.len() - 1;
    weights[end] ^= 1;
    hub.put("model.safetensors", weights.clone());
    hub.with(|hub| hub.cuts = true);
    hub.asked();
    let said = machine.refused(&["Lab/Wee-Bert"], &[]);
    assert!(
        said.contains("did not give Lab/Wee-Bert/model.safetensors in full"),
        "{said}"
    );
    assert!(
        said.contains("fetch again to resume from what is in"),
        "{said}"
    );
    for file in FILES {
        assert!(machine.stored("wee-bert", file) == fixture(file), "{file}");
    }
    let asked = hub.asked();
    // Each of three tries brought half of what was missing.
    let starts = |asked: &[Asked]| -> Vec<usize> {
        let large = asked.iter().filter(|a| a.path.starts_with("/large/"));
        let ranges = large.filter_map(|a| a.range.strip_prefix("bytes=")?.strip_suffix('-'));
        ranges.map(|start| start.parse().unwrap()).collect()
    };
    let half = weights.len() / 2;
    let quarter = half + (weights.len() - half) / 2;
    assert_eq!(starts(&asked), [0, half, quarter]);

    hub.with(|hub| hub.cuts = false);
    machine.succeeds(&["Lab/Wee-Bert"], &[]);
    let asked = hub.asked();
    let starts = starts(&asked);
    assert!(starts.len() == 1 && starts[0] >= quarter, "{starts:?}");
    assert!(!paths(&asked).iter().any(|p| p.contains("tokenizer.json")));
    assert!(machine.stored("wee-bert", "model.safetensors") == weights);
}

#[test]
fn a_download_that_ended_before_it_had_its_name_begins_again() {
    let hub = Hub::start(&FILES);
    let machine = Machine::with(&hub);
    let blobs = machine.path("hf/hub/models--Lab--Wee-Bert/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let weights = fixture("model.safetensors");
    let hash = format!("{:x}", Sha256::digest(&weights));
    for more in [0, 7] {
        let mut part = weights.clone();
        part.resize(weights.len() + more, 0);
        fs::write(blobs.join(format!("{hash}.part")), part).unwrap();
        machine.succeeds(&["Lab/Wee-Bert"], &[]);
        assert!(machine.stored("wee-bert", "model.safetensors") == weights);
        machine.forget_the_store();
        fs::remove_dir_all(machine.path("hf/hub/models--Lab--Wee-Bert/snapshots")).unwrap();
        fs::remove_file(blobs.join(&hash)).unwrap();
    }
}

#[test]
fn another_model_of_that_name_is_left_alone() {
    let hub = Hub::start(&FILES);
    let machine = Machine::with(&hub);
    let mine = machine.path("wee-bert");
    fs::create_dir_all(&mine).unwrap();
    for file in FILES {
        fs::write(mine.join(file), fixture(file)).unwrap();
    }
    machine.succeeds(&["wee-bert"], &[]);
    let source = machine.stored("wee-bert", "source.json");
    let said = machine.succeeds(&["Lab/Wee-Bert"], &[]);
    assert!(
        said.starts_with("lab-wee-bert: Lab/Wee-Bert, in "),
        "{said}"
    );
    assert!(machine.stored("wee-bert", "source.json") == source);
    assert!(machine.stored("lab-wee-bert", FILES[2]) == fixture(FILES[2]));
    // Another revision of the same repository takes the place of the first.
    let said = machine.succeeds(&["Lab/Wee-Bert@v1"], &[]);
    assert!(
        said.starts_with("lab-wee-bert: Lab/Wee-Bert@v1, in "),
        "{said}"
    );
    // A model known by name keeps its name, too.
    hub.with(|hub| hub.id = "Lab/MiniLM-L6");
    let said = machine.succeeds(&["Lab/MiniLM-L6"], &[]);
    assert!(
        said.starts_with("lab-minilm-l6: Lab/MiniLM-L6, in "),
        "{said}"
    );
}

fn small_weights() -> Vec<u8> {
    let data = [0; 8];
    let view = TensorView::new(Dtype::F32, vec![2], &data).unwrap();
    safetensors::serialize([("embeddings.word_embeddings.weight", view)], None).unwrap()
}

/// A model that has sources beside the hub, whose files the hub's are checked one by one.
#[test]
fn a_known_model_is_checked_and_not_asked_for_twice() {
    let hub = Hub::start(&[]);
    hub.with(|hub| {
        hub.id = "sentence-transformers/paraphrase-MiniLM-L3-v2";
        // The SHA-256 that it says of the weights is not theirs.
        hub.hashes.insert(FILES[2].into(), "0".repeat(64));
    });
    let config = r#"{"model_type":"bert","vocab_size":30522,"hidden_size":384,"num_hidden_layers":3,
        "num_attention_heads":12,"intermediate_size":1536,"max_position_embeddings":512}"#;
    hub.put(FILES[0], config);
    let tokenizer = r#"{"padding":{"strategy":{"Fixed":128}},"model":{}}"#;
    hub.put(FILES[1], tokenizer);
    hub.put(FILES[2], small_weights());
    let machine = Machine::with(&hub);
    let ended = machine.run(&["minilm-l3"], &[]);
    let expected = format!("expected {}", "0".repeat(64));
    assert!(
        !ended.good && ended.err.contains(&expected),
        "{}",
        ended.err
    );
    let stored = |file: &str| machine.path("store/models/minilm-l3").join(file);
    let there = FILES.map(|file| stored(file).exists());
    assert_eq!(
        there,
        [true, true, false],
        "config and tokenizer were brought"
    );

    hub.with(|hub| hub.hashes.clear());
    fs::remove_dir_all(machine.path("hf")).unwrap();
    hub.asked();
    machine.succeeds(&["minilm-l3"], &[]);
    let asked = hub.asked();
    assert!(asked.iter().any(is_for_weights));
    let again = asked.iter().any(|asked| asked.path.contains(FILES[1]));
    assert!(!again, "a finished part is fetched again: {asked:?}");
    assert_eq!(fs::read(stored(FILES[2])).unwrap(), small_weights());
    let tokenizer = fs::read_to_string(stored(FILES[1])).unwrap();
    assert_eq!(tokenizer, r#"{"padding":null,"model":{}}"#);

    // All there: nobody is asked. Damaged: brought again, from the hub's cache.
    assert!(machine.succeeds(&["minilm-l3"], &[]).contains("already in"));
    fs::write(stored(FILES[2]), "damaged").unwrap();
    machine.succeeds(&["minilm-l3"], &[("HF_HUB_OFFLINE", "1")]);
    assert!(hub.asked().is_empty());
    assert_eq!(fs::read(stored(FILES[2])).unwrap(), small_weights());
}
