//! Against the tokenizers' and the metrics' Python packages (`tests/peers/tasks.py`).

use apet_plm::{Dtype, PlmFiles, Safetensors};
use apet_record::Metric;
use apet_tasks::{Format, SplitFile, SplitFiles, load, metrics};
use burn::tensor::Device;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");

/// Tokens of a row.
const LENGTH: usize = 64;

#[derive(Deserialize)]
struct Golden {
    rows: usize,
    /// What is right for each row.
    right: Vec<Vec<String>>,
    /// Of the first rows.
    prompts: Vec<String>,
    /// Token ids of the first rows.
    families: Value,
    /// Answers that are scored.
    given: Vec<String>,
    metric: Metric,
    score: f64,
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(format!("{FIXTURES}/{path}")).unwrap()
}

fn plm(family: &str) -> Plm {
    let folder = format!("{family}-tiny");
    let bytes = read(&format!("{folder}/model.safetensors"));
    let weights = Safetensors::open(&folder, [(folder.clone(), &bytes[..])]).unwrap();
    let files = PlmFiles {
        name: &folder,
        config: &String::from_utf8(read(&format!("{folder}/config.json"))).unwrap(),
        tokenizer: &read(&format!("{folder}/tokenizer.json")),
        weights: &weights,
    };
    Plm::load(files, Dtype::F32, &Device::flex()).unwrap()
}

/// The fixture's rows as training rows: the same file stands for dev and test.
fn task(name: &str, spec: &RunSpec) -> Task {
    let file = SplitFile {
        name: format!("{name}.jsonl"),
        bytes: read(&format!("tasks/{name}.jsonl")),
    };
    assert_eq!(Format::from_name(&file.name), Some(Format::Jsonl));
    let files = SplitFiles {
        train: vec![file.clone()],
        dev: vec![file.clone()],
        test: vec![file],
    };
    load(&spec.task, 0, files).unwrap()
}

fn right(task: &Task) -> Vec<Vec<String>> {
    let right = task.train.iter().map(|row| match &row.answer {
        Answer::Class(class) => vec![task.word(*class)],
        Answer::Texts(texts) => texts.clone(),
    });
    right.collect()
}

fn score(task: &Task, golden: &Golden) -> f64 {
    if golden.metric.of_texts() {
        let right: Vec<&[String]> = golden.right.iter().map(|texts| &texts[..]).collect();
        return metrics::score_texts(task.metric, &golden.given, &right);
    }
    let class = |word: &String| task.labels.iter().position(|label| label == word);
    let given: Option<Vec<usize>> = golden.given.iter().map(class).collect();
    let gold = task.train.iter().map(|row| row.answer.class());
    let gold: Option<Vec<usize>> = gold.collect();
    metrics::score_classes(task.metric, &given.unwrap(), &gold.unwrap())
}

/// What a family's tokenizer makes of the first rows, in the form of the golden file.
fn tokens(plm: &Plm, task: &Task, spec: &RunSpec) -> Value {
    let rows = Rows::new(plm, task, &task.train[..4], spec).unwrap();
    let words = words(plm, task).unwrap();
    let tokens = (0..rows.len()).map(|row| match spec.objective {
        Objective::ClassHead => serde_json::json!(rows.texts[row].ids),
        Objective::LabelWords => {
            let asked = rows.answered(row, &words);
            serde_json::json!({"source": asked.source, "target": asked.target})
        }
    });
    tokens.collect()
}

#[test]
fn the_eleven_tasks_are_read_asked_and_scored_as_the_python_packages_have_it() {
    let golden = read("tasks/golden.json");
    let golden: BTreeMap<String, Golden> = serde_json::from_slice(&golden).unwrap();
    assert_eq!(golden.len(), 11);
    let families = ["bert", "bloom", "t5"].map(|family| (family, plm(family)));
    for (name, golden) in &golden {
        let mut spec = RunSpec::new("m", name.as_str());
        spec.task.max_length = LENGTH;
        let task = task(name, &spec);
        assert_eq!(task.train.len(), golden.rows, "{name}");
        assert_eq!(right(&task), golden.right, "{name}");
        assert_eq!(task.metric, golden.metric, "{name}");
        let prompts: Vec<String> = task.train.iter().map(|row| task.prompt(row)).collect();
        assert_eq!(prompts[..4], golden.prompts, "{name}");
        let score = score(&task, golden);
        assert!((score - golden.score).abs() < 1e-6, "{name}: {score}");
        for (family, plm) in &families {
            spec.objective = match *family {
                "bert" => Objective::ClassHead,
                _ => Objective::LabelWords,
            };
            let found = tokens(plm, &task, &spec);
            assert_eq!(found, golden.families[*family], "{name}, {family}");
        }
    }
}
