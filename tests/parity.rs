//! Parity with Hugging Face: stored figures from transformers and peft
//! (tests/peers), compared on `cpu` and, for the tiny models, on wgpu.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail by panic"
)]

#[path = "parity/families.rs"]
mod families;

use std::path::{Path, PathBuf};

use apet_plm::{Dtype, Frozen, Plm, PlmFiles, Safetensors};
use apet_record::{Apet, Method, Optimizer, Pool, Pooling, Prompt, RunSpec, Select};
use apet_tasks::{Answer, Example, Task};
use apet_theta::{Placed, Theta};
use apet_train::Trainer;
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};
use futures_lite::future::block_on;
use safetensors::SafeTensors;
use serde_json::Value;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(path)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn load(folder: &Path, tokenizer: &Path, device: &Device) -> Plm {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let config = String::from_utf8(read(&folder.join("config.json"))).unwrap();
    let weights = read(&folder.join("model.safetensors"));
    let file = "model.safetensors".to_owned();
    let weights = Safetensors::open(&file, [(file.clone(), &weights[..])]).unwrap();
    let files = PlmFiles {
        name,
        config: &config,
        tokenizer: &read(&tokenizer.join("tokenizer.json")),
        weights: &weights,
    };
    Plm::load(files, Dtype::F32, device).unwrap()
}

/// MiniLM-L6 from the store, fetched by `apet fetch`.
fn minilm(device: &Device) -> Plm {
    let home = std::env::var_os("APET_HOME")
        .map_or_else(|| dirs::data_dir().unwrap().join("apet-lab"), PathBuf::from);
    let folder = home.join("models/minilm-l6");
    assert!(
        folder.is_dir(),
        "{}: not found; `cargo xtask test` fetches it, or `apet fetch minilm-l6`",
        folder.display()
    );
    load(&folder, &folder, device)
}

fn f32s(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let bytes = view.data().chunks_exact(4);
    bytes
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn f64s(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let bytes = file.tensor(name).unwrap().data().chunks_exact(8);
    bytes
        .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn i64s(file: &SafeTensors<'_>, name: &str) -> Vec<i64> {
    let bytes = file.tensor(name).unwrap().data().chunks_exact(8);
    bytes
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    block_on(tensor.into_data_async())
        .unwrap()
        .try_to_vec()
        .unwrap()
}

/// The largest difference, and the largest expected magnitude.
fn difference(found: &[f32], expected: &[f32]) -> (f32, f32) {
    assert_eq!(found.len(), expected.len());
    let mut largest = 0f32;
    for (f, e) in found.iter().zip(expected) {
        let d = (f - e).abs();
        assert!(!d.is_nan());
        largest = largest.max(d);
    }
    (largest, expected.iter().fold(0f32, |m, e| m.max(e.abs())))
}

/// A theta file of 10,000 scalars stays below 100 KB, its spec in the header.
#[test]
fn a_theta_of_10_000_is_small_on_disk() {
    let plm = minilm(&Device::flex());
    let spec = RunSpec::new("minilm-l6", "sentences");
    let theta = Theta::new(&plm, &spec, 2, None).unwrap();
    assert_eq!(theta.info().trainable_parameters, 10_000);
    let text = apet_record::canonical_json(&spec).unwrap();
    let metadata = [("apet_spec".to_owned(), text)].into_iter().collect();
    let file = theta.to_safetensors(plm.architecture(), &values(theta.values()), metadata);
    let size = file.unwrap().len();
    println!("{size} bytes");
    assert!(size < 100_000, "{size} bytes");
}

#[test]
fn minilm_forward_equals_transformers() {
    let device = Device::flex();
    let plm = minilm(&device);
    let json: Value = serde_json::from_slice(&read(&fixture("minilm-l6/forward.json"))).unwrap();
    let bytes = read(&fixture("minilm-l6/forward.safetensors"));
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let texts = rows.iter().map(|r| (r["text"].as_str().unwrap(), None));
    let encoded = plm.tokenizer().encode(texts, 128).unwrap();
    for (row, found) in rows.iter().zip(&encoded) {
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        assert_eq!(found.ids, ids, "{}", row["text"]);
    }
    let batch = plm.batch(&encoded.iter().collect::<Vec<_>>());
    let last = plm.states(&batch, &Frozen);
    let pooled = plm.pool(&batch, last.clone(), Pooling::Mean, &Frozen);
    let (off, scale) = difference(&values(pooled), &f32s(&golden, "pooled"));
    assert!(off <= 1e-4 * scale, "pooled: {off} of {scale}");
    for row in [2usize, 3] {
        let tokens = encoded[row].ids.len();
        let state = last.clone().slice([row..row + 1, 0..tokens]);
        let (off, scale) = difference(&values(state), &f32s(&golden, &format!("hidden.{row}")));
        assert!(off <= 1e-4 * scale, "hidden {row}: {off} of {scale}");
    }
}

/// Tolerance of losses. Both sides are within 1e-6 of double precision. A wrong
/// setting of the optimizer or of LayerNorm fails at 1e-5, but not always at 1e-3.
const LOSS_TOLERANCE: f64 = 1e-5;
/// Gradient norms of full fine-tuning differ by 8e-6 between f32 and f64.
const NORM_TOLERANCE: f64 = 5e-5;

/// The positions of peft's SHIRA values: `shira.LAYER.PART.indices`, rows and columns.
fn shira_places(golden: &SafeTensors<'_>, plm: &Plm) -> Placed {
    let mut placed = Placed::new();
    for (id, site) in plm.sites().iter().enumerate() {
        let parts: Vec<&str> = site.tensor.split('.').collect();
        let [
            "encoder",
            "layer",
            layer,
            "attention",
            "self",
            part,
            "weight",
        ] = parts[..]
        else {
            continue;
        };
        let Ok(view) = golden.tensor(&format!("shira.{layer}.{part}.indices")) else {
            continue;
        };
        let words = view
            .data()
            .chunks_exact(view.data().len() / view.shape().iter().product::<usize>());
        let number = |b: &[u8]| match b.len() {
            4 => u64::from(u32::from_le_bytes(b.try_into().unwrap())),
            _ => u64::from_le_bytes(b.try_into().unwrap()),
        };
        let numbers: Vec<u64> = words.map(number).collect();
        let (rows, columns) = numbers.split_at(numbers.len() / 2);
        let width = site.shape[1] as u64;
        let places: Vec<u64> = rows
            .iter()
            .zip(columns)
            .map(|(r, c)| r * width + c)
            .collect();
        assert!(places.is_sorted());
        placed.push((id, places));
    }
    assert!(!placed.is_empty());
    placed
}

/// The first 50 losses of MiniLM-L6 with each of peft's methods agree
/// with transformers + peft, from equal initial values and batches.
#[test]
fn minilm_learns_as_peft_does() {
    let device = Device::flex();
    let plm = minilm(&device);
    let json: Value = serde_json::from_slice(&read(&fixture("minilm-l6/first50.json"))).unwrap();
    let bytes = read(&fixture("minilm-l6/first50.safetensors"));
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let rows: Vec<Example> = json["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| Example {
            text: row["text"].as_str().unwrap().into(),
            pair: None,
            answer: Answer::Class(row["label"].as_u64().unwrap() as usize),
        })
        .collect();
    let encoded = plm
        .tokenizer()
        .encode(rows.iter().map(|r| (r.text.as_str(), None)), 64)
        .unwrap();
    for (found, row) in encoded.iter().zip(json["rows"].as_array().unwrap()) {
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        assert_eq!(found.ids, ids, "{}", row["text"]);
    }
    let batches: Vec<Vec<usize>> = serde_json::from_value(json["batches"].clone()).unwrap();
    let probes: Vec<usize> = serde_json::from_value(json["probes"].clone()).unwrap();
    let task = Task {
        name: "sentences".into(),
        labels: vec!["negative".into(), "positive".into()],
        dev: rows[..1].to_vec(),
        test: rows[..1].to_vec(),
        train: rows,
        columns: ("text".into(), None),
        ..Task::default()
    };
    // SHIRA draws its own positions; they are passed as a mask.
    let shira = shira_places(&golden, &plm);
    let count = shira
        .iter()
        .map(|(_, places)| places.len() as u64)
        .sum::<u64>();
    let of_mask = Select::Mask {
        mask: "shira".into(),
        hash: "of the figures".into(),
    };
    let prompt = Method::Prompt(Prompt {
        tokens: 20,
        deviation: 0.1,
    });
    for (name, method) in [
        ("full", Method::full()),
        ("lora", Method::lora()),
        ("bitfit", Method::Bitfit(Default::default())),
        ("head", Method::Head(Default::default())),
        ("prompt", prompt),
        ("ia3", Method::ia3()),
        ("ln_tuning", Method::LayerNorm(Default::default())),
        (
            "shira",
            Method::Apet(Apet {
                count: count.into(),
                pool: Pool::default(),
                select: of_mask,
            }),
        ),
    ] {
        let rate = json["settings"]["learning_rate"][name].as_f64().unwrap();
        let mut spec = RunSpec::new("minilm-l6", "sentences");
        spec.method = method;
        spec.task.max_length = 64;
        spec.optimizer = Optimizer {
            learning_rate: rate,
            ..Default::default()
        };
        let mut trainer = Trainer::new(&plm, &task, &spec, Some(&shira)).unwrap();
        let tuned = json["tuned_without_head"][name].as_u64().unwrap();
        assert_eq!(trainer.theta().info().trainable_parameters, tuned, "{name}");

        let mut flat = values(trainer.theta().values());
        for weight in trainer.theta().weights() {
            let source = if weight.is_head() {
                weight.name.clone()
            } else if weight.name == "prompt" {
                "prompt.initial".to_owned()
            } else if let Some(site) = weight.name.strip_suffix(".weight.lora_A") {
                let parts: Vec<&str> = site.split('.').collect();
                format!("lora.{}.{}.A", parts[2], parts[5])
            } else {
                continue;
            };
            flat[weight.offset..weight.offset + weight.len()]
                .copy_from_slice(&f32s(&golden, &source));
        }
        let len = flat.len();
        trainer.set_values(Tensor::from_data(
            TensorData::new(flat, [len]),
            (&device, DType::F32),
        ));

        let probe = |trainer: &Trainer<'_>, when: &str| {
            let found = block_on(trainer.predict(&probes)).unwrap();
            let (off, scale) = difference(&found, &f32s(&golden, &format!("logits.{when}.{name}")));
            assert!(
                off <= 1e-3 * scale,
                "{name}, logits {when}: {off} of {scale}"
            );
        };
        probe(&trainer, "before");
        let losses = f64s(&golden, &format!("losses.{name}"));
        let norms = f64s(&golden, &format!("grad_norm.{name}"));
        for (step, rows) in batches.iter().enumerate() {
            let result = trainer.step(
                std::slice::from_ref(rows),
                spec.optimizer.rate(step, batches.len()),
            );
            let result = result.unwrap();
            for (what, found, expected, tolerance) in [
                ("loss", result.loss, losses[step], LOSS_TOLERANCE),
                (
                    "gradient norm",
                    result.grad_norm,
                    norms[step],
                    NORM_TOLERANCE,
                ),
            ] {
                let found = f64::from(values(found)[0]);
                let off = (found - expected).abs() / expected.abs();
                assert!(
                    off <= tolerance,
                    "{name}, step {}: {what} {found}, expected {expected}",
                    step + 1
                );
            }
        }
        probe(&trainer, "after");
    }
}
