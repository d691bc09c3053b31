//! What record and theta files hold, whichever version wrote them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::table::Counts;

/// The value under the first of several names: the name of 325694f, then later ones.
pub(crate) fn field<'a>(object: &'a Value, names: &[&str]) -> &'a Value {
    let found = names.iter().find_map(|name| object.get(name));
    found.unwrap_or_else(|| panic!("none of {names:?} in {object}"))
}

pub(crate) fn counts(header: &Value) -> Counts {
    let theta = &header["theta"];
    let number = |names: &[&str]| field(theta, names).as_u64().unwrap();
    Counts {
        requested: number(&["nominal", "requested_parameters"]),
        trainable: number(&["realised", "trainable_parameters"]),
        head: number(&["head", "head_parameters"]),
        weights: number(&["weights"]),
        candidates: number(&["pool", "candidate_parameters"]),
        positions_hash: theta["positions_hash"].as_str().unwrap().to_owned(),
    }
}

/// BLAKE3 of the tensors of a safetensors file, in the order of their names, without its metadata.
pub(crate) fn tensors(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    let mut hash = blake3::Hasher::new();
    for name in names {
        let tensor = file.tensor(name).unwrap();
        let about = format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.shape());
        hash.update(about.as_bytes()).update(tensor.data());
    }
    hash.finalize().to_hex().to_string()
}

pub(crate) fn hash(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    blake3::hash(&bytes).to_hex().to_string()
}

/// What a record says of its steps and evaluations.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) losses: Vec<f64>,
    pub(crate) evaluations: Vec<[f64; 2]>,
    pub(crate) landscape: Vec<f64>,
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => value.as_f64().into_iter().collect(),
    }
}

pub(crate) fn recorded(record: &Path) -> Recorded {
    let text = fs::read_to_string(record).unwrap_or_else(|e| panic!("{}: {e}", record.display()));
    let mut losses = BTreeMap::new();
    let mut found = Recorded::default();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        match line["kind"].as_str().unwrap() {
            // A step that was repeated after a resumption counts once.
            "step" => {
                losses.insert(line["step"].as_u64(), line["loss"].as_f64().unwrap());
            }
            "eval" => {
                let [score, loss] = ["score", "loss"].map(|name| line[name].as_f64().unwrap());
                found.evaluations.push([score, loss]);
            }
            "landscape" => {
                let along = numbers(field(&line, &["along", "init_to_best_loss"]));
                let aside = numbers(field(&line, &["aside", "random_direction_loss"]));
                found.landscape = [along, aside].concat();
            }
            _ => {}
        }
    }
    found.losses = losses.into_values().collect();
    found
}
