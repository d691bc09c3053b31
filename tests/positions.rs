//! Guarantees that the same spec selects the same positions, everywhere and forever: tests/fixtures/positions.json
//! has specs on tiny models with the hash of all their positions. The page's test selects the
//! same in wasm. `APET_WRITE_POSITIONS=1` rewrites the file, which breaks the guarantee.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panic")]

use std::path::Path;

use apet_plm::{Config, ModelArchitecture};
use apet_record::RunSpec;
use apet_theta::Layout;
use burn::tensor::Device;
use serde_json::{Value, json};

/// Specs by name; each is used on every model.
const METHODS: [&str; 8] = [
    r#"{"name": "apet", "count": 200}"#,
    r#"{"name": "apet", "count": "2%", "pool": {"modules": ["attention", "ffn", "norm", "bias", "embedding"]}}"#,
    r#"{"name": "apet", "count": 150, "select": {"by": "rows"}}"#,
    r#"{"name": "apet", "count": 150, "select": {"by": "columns"}, "pool": {"layers": {"first": 1, "last": 1}}}"#,
    r#"{"name": "apet", "count": 60, "select": {"by": "diagonal"}}"#,
    r#"{"name": "apet", "count": 200, "select": {"by": "lora_scalar"}}"#,
    r#"{"name": "apet", "count": "as lora", "pool": {"parts": ["query", "value"], "sites": "weight"}}"#,
    r#"{"name": "combined", "parts": [{"name": "apet", "count": 50}, {"name": "apet", "count": 50}]}"#,
];

fn spec(model: &str, method: &str, seed: u64) -> RunSpec {
    let text = json!({
        "model": model,
        "task": {"name": "sentences"},
        "method": serde_json::from_str::<Value>(method).unwrap(),
        "seeds": {"placement": seed},
    });
    RunSpec::from_json(&text.to_string()).unwrap()
}

#[test]
fn positions_are_what_they_always_were() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let mut found = Vec::new();
    for model in ["bert-tiny", "bloom-tiny", "t5-tiny", "llama-tiny"] {
        let config = std::fs::read_to_string(fixtures.join(model).join("config.json")).unwrap();
        let architecture =
            ModelArchitecture::new(model, Config::read("config.json", &config).unwrap());
        for method in METHODS {
            for seed in [0, 1] {
                let spec = spec(model, method, seed);
                let layout = Layout::new(&architecture, &spec, 2, None, &Device::flex());
                let info = layout
                    .unwrap_or_else(|e| panic!("{model} {method}: {e}"))
                    .info;
                assert_eq!(
                    info.requested_parameters, info.trainable_parameters,
                    "{model} {method}"
                );
                found.push(json!({
                    "spec": spec,
                    "trainable_parameters": info.trainable_parameters,
                    "weights": info.weights,
                    "positions_hash": info.positions_hash,
                }));
            }
        }
    }
    let hashes = |of: &[Value]| -> Vec<String> {
        of.iter()
            .map(|case| case["positions_hash"].to_string())
            .collect()
    };
    let mut unique = hashes(&found);
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), found.len(), "two specs share their positions");
    let path = fixtures.join("positions.json");
    if std::env::var_os("APET_WRITE_POSITIONS").is_some() {
        let lines: Vec<String> = found.iter().map(Value::to_string).collect();
        std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let stored: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(stored.len(), found.len());
    for (stored, found) in stored.iter().zip(&found) {
        for field in ["trainable_parameters", "weights", "positions_hash"] {
            assert_eq!(stored[field], found[field], "{field} of {}", found["spec"]);
        }
    }
}
