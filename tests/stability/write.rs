//! Writes the fixtures. See make.sh.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::home::{Home, execute};
use crate::record::{hash, recorded, tensors};
use crate::table::{Case, Interrupted, Table, instructions, read_json, root, stored, write};

/// Writes the fixtures with the binary that `APET_STABILITY_BINARY` names.
#[test]
#[ignore = "overwrites the fixtures"]
fn write_the_fixtures() {
    assert!(std::env::var_os("APET_STABILITY_BINARY").is_some());
    let specs: Value = read_json(&stored("specs.json"));
    let home = Home::new();
    for folder in ["store/runs", "peft", "interrupted"] {
        fs::remove_dir_all(stored(folder)).ok();
    }
    let mut kinds = BTreeSet::new();
    let runs = specs["runs"].as_object().unwrap().iter();
    let runs = runs.map(|(name, spec)| {
        let expected = execute(&home, name, spec);
        for kind in ["jsonl", "theta.safetensors"] {
            let from = home.run_file(&expected.run, kind);
            let to = stored(&format!("store/runs/{}-cpu.{kind}", expected.run));
            write(&to, fs::read(from).unwrap());
        }
        if expected.peft.is_some() {
            keep_adapter(&home, name, &mut kinds);
        }
        Case {
            name: name.clone(),
            spec: spec.clone(),
            expected,
        }
    });
    let runs = runs.collect();
    let interrupted = specs["interrupted"].as_array().unwrap().iter();
    let interrupted = interrupted.map(|spec| interrupt(&home, spec)).collect();
    let table = Table {
        commit: "325694f".into(),
        instructions: instructions(),
        runs,
        interrupted,
    };
    let mut found = BTreeMap::new();
    for path in REFERENCES {
        references(path, &mut found);
    }
    let text = serde_json::to_string_pretty(&found).unwrap();
    write(&stored("references.json"), text + "\n");
    let text = serde_json::to_string_pretty(&table).unwrap();
    write(&stored("runs.json"), text + "\n");
}

/// Keeps an adapter of peft, the first of its kind.
fn keep_adapter(home: &Home, name: &str, kinds: &mut BTreeSet<[String; 2]>) {
    let folder = home.path(&format!("peft/{name}"));
    let config: Value = read_json(&folder.join("adapter_config.json"));
    let kind = ["peft_type", "task_type"].map(|field| config[field].to_string());
    if kinds.insert(kind) {
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            if file.file_name() != "README.md" {
                let to = stored(&format!("peft/{name}")).join(file.file_name());
                write(&to, fs::read(file.path()).unwrap());
            }
        }
    }
}

/// Kills a run in its middle, keeps what it left, and resumes it.
fn interrupt(home: &Home, spec: &Value) -> Interrupted {
    write(&home.path("specs/interrupted.json"), spec.to_string());
    let mut command = home.command(&["run", "--spec", "specs/interrupted.json"]);
    let spec_json = home.succeeds(&["run", "--spec", "specs/interrupted.json", "--print-spec"]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let whole = |path: &Path| {
        path.to_str()
            .unwrap()
            .ends_with("-cpu.checkpoint.safetensors")
    };
    let (checkpoint, bytes) = loop {
        let files = fs::read_dir(home.path("runs")).unwrap().flatten();
        let found = files.map(|file| file.path()).find(|path| whole(path));
        let found = found.and_then(|path| Some((path.clone(), fs::read(path).ok()?)));
        match found {
            Some(found) => break found,
            None => assert!(
                child.try_wait().unwrap().is_none(),
                "too short: {spec_json}"
            ),
        }
        std::thread::sleep(Duration::from_micros(200));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let name = checkpoint.file_name().unwrap().to_str().unwrap();
    let run = name.split_once('-').unwrap().0.to_owned();
    // The checkpoint that is there after the kill may be a later one.
    let bytes = fs::read(&checkpoint).unwrap_or(bytes);
    write(&stored(&format!("interrupted/{name}")), &bytes);
    let record = home.run_file(&run, "jsonl");
    let to = stored(&format!("interrupted/{run}-cpu.jsonl"));
    write(&to, fs::read(&record).unwrap());
    let (_, about) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = &about.metadata().as_ref().unwrap()["apet_checkpoint"];
    let about: Value = serde_json::from_str(about).unwrap();
    home.succeeds(&["run", "--resume", &run]);
    Interrupted {
        spec: spec.clone(),
        step: usize::try_from(about["step"].as_u64().unwrap()).unwrap(),
        theta: tensors(&home.run_file(&run, "theta.safetensors")),
        losses: recorded(&record).losses,
        run,
    }
}

/// What transformers, peft and others gave, and the tiny models that they gave it for.
const REFERENCES: [&str; 12] = [
    "bert-tiny",
    "bloom-tiny",
    "llama-tiny",
    "method_comparison",
    "minilm-l6",
    "mpnet-tiny",
    "peft",
    "t5-relu-tiny",
    "t5-tiny",
    "tasks",
    "metrics.json",
    "statistics.json",
];

/// BLAKE3 of each file, by its path in tests/fixtures.
fn references(path: &str, found: &mut BTreeMap<String, String>) {
    let file = root().join("tests/fixtures").join(path);
    if file.is_dir() {
        for entry in fs::read_dir(file).unwrap() {
            let name = entry.unwrap().file_name();
            references(&format!("{path}/{}", name.to_str().unwrap()), found);
        }
    } else if !path.ends_with(".md") && !path.ends_with(".py") {
        found.insert(path.to_owned(), hash(&file));
    }
}
