//! A store for the binary, and what the binary makes of a spec there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::record::{counts, hash, recorded, tensors};
use crate::table::{Expected, root, stored, write};

pub(crate) const MODELS: [&str; 7] = [
    "bert-tiny",
    "bloom-tiny",
    "llama-tiny",
    "mpnet-tiny",
    "t5-tiny",
    "t5-relu-tiny",
    "ladder-nano",
];

/// Threads of every run, since the order of a sum may depend on them.
pub(crate) const THREADS: &str = "2";

/// A store with the tiny models, a task of a few sentences, and the binary that works on it.
pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) binary: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Self {
        let binary = std::env::var_os("APET_STABILITY_BINARY");
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
            binary: binary.map_or_else(|| env!("CARGO_BIN_EXE_apet").into(), PathBuf::from),
        };
        for model in MODELS {
            let fixture = root().join("tests/fixtures").join(model);
            let source = match fixture.is_dir() {
                true => fixture,
                false => root().join("web/public/models").join(model),
            };
            for file in ["config.json", "tokenizer.json", "model.safetensors"] {
                let from = match source.join(file) {
                    from if from.exists() => from,
                    _ => root().join("tests/fixtures/bert-tiny").join(file),
                };
                let to = home.path("models").join(model).join(file);
                write(&to, fs::read(from).unwrap());
            }
        }
        let row = |n: usize| {
            let text = match n % 4 {
                0 => format!("the food was good and number {n} was great"),
                1 => format!("the film was bad and number {n} was awful"),
                2 => "a warm, good evening".to_owned(),
                _ => format!("no, {n} times no"),
            };
            json!({"text": text, "label": n % 2}).to_string() + "\n"
        };
        for (split, rows) in [
            ("train", 0..40),
            ("validation", 100..110),
            ("test", 200..210),
        ] {
            let text: String = rows.map(row).collect();
            write(&home.path(&format!("tasks/mine/{split}.jsonl")), text);
        }
        for entry in fs::read_dir(stored("store/masks")).into_iter().flatten() {
            let entry = entry.unwrap();
            let to = home.path("masks").join(entry.file_name());
            write(&to, fs::read(entry.path()).unwrap());
        }
        home
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The file of a run, which a record (`jsonl`), a theta or a checkpoint is.
    pub(crate) fn run_file(&self, run: &str, kind: &str) -> PathBuf {
        self.path(&format!("runs/{run}-cpu.{kind}"))
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).current_dir(self.folder.path());
        command.env("APET_HOME", self.folder.path());
        command.env("RAYON_NUM_THREADS", THREADS);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command(words).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    pub(crate) fn succeeds(&self, words: &[&str]) -> String {
        let output = self.output(words);
        output.unwrap_or_else(|e| panic!("{}: {e}", words.join(" ")))
    }

    /// Runs a spec; gives header and summary.
    pub(crate) fn run(&self, name: &str, spec: &Value, more: &[&str]) -> Value {
        let file = format!("specs/{name}.json");
        write(&self.path(&file), spec.to_string());
        let words = [&["run", "--spec", &file, "--json"], more].concat();
        serde_json::from_str(&self.succeeds(&words)).unwrap()
    }

    /// Exports theta; gives the folder, or none where the format cannot hold it.
    pub(crate) fn export(&self, name: &str, theta: &Path, format: &str) -> Option<PathBuf> {
        let folder = self.path(&format!("{format}/{name}"));
        let (theta, output) = (theta.to_str().unwrap(), folder.to_str().unwrap());
        let exported = self.output(&["export", theta, "--format", format, "-o", output]);
        if let Err(error) = &exported {
            assert!(error.contains("error: "), "{name}: {error}");
            assert!(!error.contains("panicked"), "{name}: {error}");
        }
        exported.ok().map(|_| folder)
    }

    /// The theta of a stored run, put where its own record stands next to it.
    pub(crate) fn copy_stored(&self, run: &str) -> PathBuf {
        for kind in ["jsonl", "theta.safetensors"] {
            let from = stored(&format!("store/runs/{run}-cpu.{kind}"));
            let bytes = fs::read(&from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
            write(&self.run_file(run, kind), bytes);
        }
        self.run_file(run, "theta.safetensors")
    }
}

/// The spec with which theta keeps its initial values for one step.
pub(crate) fn without_learning(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["train"] = json!({"steps": 1, "eval_every": 1, "batch_size": 4});
    spec["optimizer"] = json!({"learning_rate": 0.0});
    spec
}

/// What a run of the spec leaves, and what becomes of its theta.
pub(crate) fn execute(home: &Home, name: &str, spec: &Value) -> Expected {
    let result = home.run(name, spec, &[]);
    let run = result["header"]["run"].as_str().unwrap().to_owned();
    let recorded = recorded(&home.run_file(&run, "jsonl"));
    let theta = home.run_file(&run, "theta.safetensors");
    let mut expected = Expected {
        counts: counts(&result["header"]),
        initial: initial(home, name, spec),
        theta: tensors(&theta),
        losses: recorded.losses,
        evaluations: recorded.evaluations,
        landscape: recorded.landscape,
        run,
        ..Expected::default()
    };
    reuse(home, name, spec, &theta, &mut expected);
    expected
}

pub(crate) fn initial(home: &Home, name: &str, spec: &Value) -> String {
    let result = home.run(
        &format!("{name}-without-learning"),
        &without_learning(spec),
        &[],
    );
    let run = result["header"]["run"].as_str().unwrap();
    tensors(&home.run_file(run, "theta.safetensors"))
}

/// What becomes of a theta file: a run that is initialised from it, a merged model, an adapter of peft and back.
pub(crate) fn reuse(home: &Home, name: &str, spec: &Value, theta: &Path, expected: &mut Expected) {
    let start = theta.to_str().unwrap();
    let rest = ["--learning-rate", "0", "--steps", "1", "--eval-every", "1"];
    let words = [&["run", "--json", "--start", start], &rest[..]].concat();
    // Groups that name a learning rate need one for the others.
    let words = match name {
        "bert-groups" => vec!["run", "--json", "--start", start, "--steps", "1"],
        _ => words,
    };
    let continued: Value = serde_json::from_str(&home.succeeds(&words)).unwrap();
    let run = continued["header"]["run"].as_str().unwrap();
    if name != "bert-groups" {
        let found = tensors(&home.run_file(run, "theta.safetensors"));
        assert_eq!(found, tensors(theta), "{name}: theta is read and written");
    }
    expected.continued = run.to_owned();
    let merged = home.export(name, theta, "merged");
    expected.merged = merged.map(|folder| tensors(&folder.join("model.safetensors")));
    expected.peft = home.export(name, theta, "peft").map(|folder| {
        let files = ["adapter_config.json", "adapter_model.safetensors"];
        let files = files.into_iter().chain(["head.safetensors"]);
        let there = files.filter(|file| folder.join(file).exists());
        there
            .map(|file| (file.to_owned(), hash(&folder.join(file))))
            .collect()
    });
    let imported = |_: &_| imported(home, name, spec, &home.path(&format!("peft/{name}")));
    expected.imported = expected.peft.as_ref().map(imported);
}

/// BLAKE3 of the tensors of an imported adapter.
pub(crate) fn imported(home: &Home, name: &str, spec: &Value, adapter: &Path) -> String {
    let model = spec["model"].as_str().unwrap();
    let to = format!("{name}.theta.safetensors");
    let adapter = adapter.to_str().unwrap();
    home.succeeds(&["import", adapter, "--model", model, "-o", &to]);
    tensors(&home.path(&to))
}
