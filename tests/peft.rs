//! Hugging Face peft adapters: those saved by peft are read and give its outputs, and those
//! written here are read back bit for bit. The written adapters stay in the target directory,
//! where `cargo xtask test --peers` loads them with peft and transformers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panic"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use apet_plm::{
    Dtype, Encoded, Kind, LayerHooks, Plm, PlmFiles, Prompted, ReadAt, Safetensors, Weights,
};
use apet_record::{
    Apet, Combined, Dora, Lora, Method, Objective, Pool, Pooling, Prompt, RunSpec, Select, Stream,
};
use apet_theta::{Layout, Merged, Theta};
use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};
use futures_lite::future::block_on;
use safetensors::{Dtype as Stored, SafeTensors, tensor::TensorView};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The checkpoint of a tiny model.
fn weights(name: &str) -> Box<dyn Weights> {
    let bytes = read(&fixtures().join(name).join("model.safetensors"));
    let file = "model.safetensors".to_owned();
    Box::new(Safetensors::open(&file, [(file.clone(), Bytes(bytes))]).unwrap())
}

/// A file in memory.
struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        (&self.0[..]).read_at(offset, into)
    }
}

fn load(name: &str) -> Plm {
    loaded(name, &*weights(name))
}

/// A tiny model with other weights.
fn loaded(name: &str, weights: &dyn Weights) -> Plm {
    let files = PlmFiles {
        name,
        config: &String::from_utf8(read(&fixtures().join(name).join("config.json"))).unwrap(),
        // The figures have token ids, so any tokenizer will do.
        tokenizer: &read(&fixtures().join("bert-tiny/tokenizer.json")),
        weights,
    };
    Plm::load(files, Dtype::F32, &Device::flex()).unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = block_on(tensor.into_data_async()).unwrap();
    data.iter::<f32>().collect()
}

/// The inputs of a tiny model: ids, masks, and a decoder's input ids.
#[derive(Clone)]
struct Inputs {
    ids: Vec<Vec<u32>>,
    mask: Vec<Vec<i64>>,
    decoder: Option<Vec<Vec<u32>>>,
}

impl Inputs {
    fn of(json: &Value, model: &str) -> Self {
        let of = &json["models"][model];
        let decoder = of.get("decoder_input_ids");
        Self {
            ids: serde_json::from_value(of["input_ids"].clone()).unwrap(),
            mask: serde_json::from_value(of["attention_mask"].clone()).unwrap(),
            decoder: decoder.map(|ids| serde_json::from_value(ids.clone()).unwrap()),
        }
    }

    /// The first row alone, the longest.
    fn first(&self) -> Self {
        Self {
            ids: self.ids[..1].to_vec(),
            mask: self.mask[..1].to_vec(),
            decoder: self.decoder.as_ref().map(|rows| rows[..1].to_vec()),
        }
    }

    /// The tokens of each row that are not padding.
    fn rows(&self) -> Vec<Vec<u32>> {
        let row = |(ids, mask): (&Vec<u32>, &Vec<i64>)| {
            let kept = ids.iter().zip(mask).filter(|(_, m)| **m == 1);
            kept.map(|(id, _)| *id).collect()
        };
        self.ids.iter().zip(&self.mask).map(row).collect()
    }
}

/// A model's output with a theta, in the form of the figures: all rows concatenated.
fn output(plm: &Plm, theta: &Theta, task: &str, inputs: &Inputs) -> Vec<f32> {
    let constants = theta.constants();
    let tap = theta.hooks(&constants);
    let rows = inputs.rows();
    if let Some(decoder) = &inputs.decoder {
        let prompted: Vec<Prompted> = rows
            .into_iter()
            .zip(decoder)
            .map(|(source, read)| Prompted {
                source,
                // Each token is read before the next; after the last one there is no further step.
                target: [&read[1..], &[0]].concat(),
            })
            .collect();
        let prompted: Vec<&Prompted> = prompted.iter().collect();
        return values(plm.target_logits(&prompted, &tap).unwrap().logits);
    }
    let encoded: Vec<Encoded> = rows
        .into_iter()
        .map(|ids| Encoded {
            types: vec![0; ids.len()],
            ids,
        })
        .collect();
    let batch = plm.batch(&encoded.iter().collect::<Vec<_>>());
    match task {
        "CAUSAL_LM" => values(plm.logits(&batch, &tap as &dyn LayerHooks).unwrap()),
        "SEQ_CLS" => {
            let states = plm.states(&batch, &tap);
            values(tap.head(plm.pool(&batch, states, Pooling::Pooler, &tap)))
        }
        _ => values(plm.states(&batch, &tap)),
    }
}

/// The largest difference divided by the largest value, over positions with tokens.
fn off(found: &[f32], expected: &[f32], kept: &[bool]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let width = found.len() / kept.len();
    let (mut off, mut scale) = (0f32, 0f32);
    for (token, kept) in kept.iter().enumerate() {
        for at in token * width..(token + 1) * width {
            if *kept {
                assert!(found[at].is_finite());
                off = off.max((found[at] - expected[at]).abs());
                scale = scale.max(expected[at].abs());
            }
        }
    }
    off / scale
}

/// Which of an output's tokens are not padding; virtual tokens come first.
fn kept(task: &str, inputs: &Inputs, size: usize) -> Vec<bool> {
    match task {
        "SEQ_CLS" | "SEQ_2_SEQ_LM" => vec![true; size],
        _ => inputs
            .mask
            .iter()
            .flat_map(|row| {
                let ahead = size / inputs.mask.len() - row.len();
                std::iter::repeat_n(true, ahead)
                    .chain(row.iter().map(|m| *m == 1))
                    .collect::<Vec<_>>()
            })
            .collect(),
    }
}

/// Every adapter saved by peft gives peft's outputs.
#[test]
fn adapters_of_peft_give_its_outputs() {
    let folder = fixtures().join("peft");
    let json: Value = serde_json::from_slice(&read(&folder.join("inputs.json"))).unwrap();
    let bytes = read(&folder.join("outputs.safetensors"));
    let outputs = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |name: &str| -> (Vec<f32>, Vec<usize>) {
        let view = outputs.tensor(name).unwrap();
        let floats = view.data().chunks_exact(4);
        let floats = floats.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (floats.collect(), view.shape().to_vec())
    };
    let mut read_kinds: HashMap<String, usize> = HashMap::new();
    for case in json["cases"].as_array().unwrap() {
        let word = |field: &str| case[field].as_str().unwrap();
        let (name, model, task) = (word("name"), word("model"), word("task"));
        let directory = folder.join(name);
        if !directory.is_dir() {
            continue; // the base model itself
        }
        let plm = load(model);
        let config = String::from_utf8(read(&directory.join("adapter_config.json"))).unwrap();
        let weights = read(&directory.join("adapter_model.safetensors"));
        let theta = match Theta::from_peft(&plm, &config, &weights) {
            Ok(theta) => theta,
            Err(e) => {
                // Content that theta cannot hold is reported.
                let text = e.to_string();
                let known = match name {
                    "bert-supertuning-unsaved" => "its places are not stored",
                    _ => panic!("{name}: {text}"),
                };
                assert!(text.contains(known), "{name}: {text}");
                continue;
            }
        };
        let inputs = Inputs::of(&json, model);
        // In peft, Llama counts padding as positions, so padded rows are compared individually.
        let alone = format!("{name}.alone");
        let figures = match outputs.tensor(&alone) {
            Ok(_) => alone,
            Err(_) => name.to_owned(),
        };
        let (expected, shape) = stored(&figures);
        let tokens = shape[..shape.len() - 1].iter().product();
        let found = output(&plm, &theta, task, &inputs);
        let off = off(&found, &expected, &kept(task, &inputs, tokens));
        assert!(off <= 1e-4, "{name}: {off}");
        *read_kinds.entry(theta.info().method.clone()).or_default() += 1;
    }
    for kind in [
        "LORA",
        "PROMPT_TUNING",
        "IA3",
        "LN_TUNING",
        "SHIRA",
        "SUPERTUNING",
    ] {
        let count = read_kinds
            .get(&format!("peft {kind}"))
            .copied()
            .unwrap_or(0);
        assert!(count >= 3, "{kind}: {count} cases");
    }
}

/// A run can be initialised from a peft adapter if its method has the same weights at the same positions. An adapter
/// that matches no method fails with the reason.
#[test]
fn adapters_of_peft_are_methods_to_go_on_with() {
    let folder = fixtures().join("peft");
    let json: Value = serde_json::from_slice(&read(&folder.join("inputs.json"))).unwrap();
    let mut gone_on: HashMap<String, usize> = HashMap::new();
    let mut refused = Vec::new();
    for case in json["cases"].as_array().unwrap() {
        let (name, model) = (
            case["name"].as_str().unwrap(),
            case["model"].as_str().unwrap(),
        );
        let directory = folder.join(name);
        if !directory.is_dir() {
            continue; // the base model itself
        }
        let config = String::from_utf8(read(&directory.join("adapter_config.json"))).unwrap();
        let weights = read(&directory.join("adapter_model.safetensors"));
        let plm = load(model);
        let go_on = || -> Result<Method, String> {
            let mut spec = RunSpec::new(model, "none");
            spec.method = Theta::peft_method(&config).map_err(|e| e.to_string())?;
            (spec.objective, spec.head.pooling) = Theta::peft_purpose(&config).unwrap();
            let layout = Layout::new(plm.architecture(), &spec, 3, None, plm.device());
            let planned = Theta::of(&plm, 3, layout.map_err(|e| e.to_string())?);
            let theta = Theta::from_peft(&plm, &config, &weights).unwrap();
            let same = theta.check_same(&planned, plm.architecture());
            same.map(|()| spec.method).map_err(|e| e.to_string())
        };
        match go_on() {
            Ok(method) => *gone_on.entry(method.name().to_owned()).or_default() += 1,
            Err(text) => refused.push(format!("{name}: {text}")),
        }
    }
    let expected = [
        ("-shira", "expected LORA, PROMPT_TUNING, IA3 or LN_TUNING"),
        (
            "-supertuning",
            "expected LORA, PROMPT_TUNING, IA3 or LN_TUNING",
        ),
        ("llama-lora-patterns", "rank_pattern: found one"),
        // LoRA does not train the pooler here.
        ("bert-lora-all", "\"pooler.dense\" is no linear layer"),
        // Only some of the norms.
        ("bloom-ln-tuning", "word_embeddings_layernorm.weight"),
    ];
    for line in &refused {
        let known = |(name, text): &(&str, &str)| line.contains(name) && line.contains(text);
        assert!(expected.iter().any(known), "{line}\nof {refused:#?}");
    }
    let least = [("lora", 6), ("prompt", 3), ("ia3", 4), ("layer_norm", 3)];
    for (method, least) in least {
        let count = gone_on.get(method).copied().unwrap_or(0);
        assert!(count >= least, "{method}: {count} cases; {refused:#?}");
    }
    for (config, said) in [
        ("[]", "expected an object"),
        (r#"{"peft_type": "LORA", "r": 1.5}"#, "r: found 1.5"),
        (r#"{"peft_type": "LORA", "r": 2}"#, "lora_alpha: is missing"),
        (
            r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "q|v"}"#,
            "target_modules: found \"q|v\", expected a list",
        ),
    ] {
        let text = Theta::peft_method(config).unwrap_err().to_string();
        assert!(text.contains(said), "{config}: {text}");
    }
}

/// Content that theta cannot hold fails with the field or tensor, and nothing is dropped.
#[test]
fn adapters_that_do_not_fit_are_refused() {
    let plm = load("bert-tiny");
    for (name, expected) in [
        (
            "bert-lora-bias",
            "bias: found \"all\", which theta cannot hold",
        ),
        (
            "bert-lora-extra",
            "embeddings.token_type_embeddings.weight: is no tensor of this kind",
        ),
        ("bert-lora-unknown", "bert-tiny has no such module"),
    ] {
        let folder = fixtures().join("peft/refused").join(name);
        let config = String::from_utf8(read(&folder.join("adapter_config.json"))).unwrap();
        let weights = read(&folder.join("adapter_model.safetensors"));
        let text = Theta::from_peft(&plm, &config, &weights)
            .unwrap_err()
            .to_string();
        assert!(text.contains(expected), "{name}: {text}");
    }
    let folder = fixtures().join("peft/bert-lora");
    let config = String::from_utf8(read(&folder.join("adapter_config.json"))).unwrap();
    let weights = read(&folder.join("adapter_model.safetensors"));
    let refusal = |config: &str, weights: &[u8]| {
        Theta::from_peft(&plm, config, weights)
            .unwrap_err()
            .to_string()
    };
    let text = refusal("{", &weights);
    assert!(text.starts_with("adapter_config.json: EOF"), "{text}");
    let text = refusal(&config.replace("LORA", "VERA"), &weights);
    assert!(text.contains("found \"VERA\", expected LORA"), "{text}");
    let text = refusal(
        &config.replace("\"lora_alpha\": 6", "\"lora_alpha\": null"),
        &weights,
    );
    assert!(text.contains("lora_alpha: is missing"), "{text}");
    for length in [0, 9, weights.len() / 2, weights.len() - 1] {
        let text = refusal(&config, &weights[..length]);
        assert!(text.contains("expected a safetensors file"), "{text}");
    }
}

/// Damaged files fail or give other numbers; they cause no panic and no large allocation.
#[test]
fn damaged_files_cause_no_panic() {
    let plm = load("bert-tiny");
    let mut stream = Stream::new("test damage", 1);
    let mut damage = |bytes: &[u8]| -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + stream.below(4) {
            // Mostly in the header, which contains the sizes.
            let end = [bytes.len() as u64, 600][usize::from(stream.below(4) > 0)];
            let at = stream.below(end.min(bytes.len() as u64)) as usize;
            bytes[at] = match stream.below(3) {
                0 => b'0' + stream.below(10) as u8,
                1 => b"{}[],:\" "[stream.below(8) as usize],
                _ => stream.below(256) as u8,
            };
        }
        bytes
    };
    let mut refused = 0;
    for name in [
        "bert-lora",
        "bert-ia3",
        "bert-shira",
        "bert-supertuning",
        "bert-prompt",
        "bert-ln-tuning",
    ] {
        let folder = fixtures().join("peft").join(name);
        let config = read(&folder.join("adapter_config.json"));
        let weights = read(&folder.join("adapter_model.safetensors"));
        let theta = Theta::from_peft(&plm, std::str::from_utf8(&config).unwrap(), &weights);
        let theta = theta.unwrap();
        let at = values(theta.values());
        let own = theta
            .to_safetensors(plm.architecture(), &at, HashMap::new())
            .unwrap();
        for _ in 0..150 {
            let config = damage(&config);
            let text = String::from_utf8_lossy(&config);
            refused += usize::from(Theta::from_peft(&plm, &text, &weights).is_err());
            let text = std::str::from_utf8(&read(&folder.join("adapter_config.json")))
                .unwrap()
                .to_owned();
            refused += usize::from(Theta::from_peft(&plm, &text, &damage(&weights)).is_err());
            refused += usize::from(Theta::read(&plm, &damage(&own)).is_err());
        }
    }
    assert!(refused > 900, "{refused} of 2700 were refused");
}

/// An empty directory for a written adapter or model.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("peft")
        .join(name);
    std::fs::remove_dir_all(&directory).ok();
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn shaken(theta: &Theta, by: f64) -> Vec<f32> {
    let mut stream = Stream::new("test values", 4);
    let mut shake = |v: f32| v + (stream.normal() * by) as f32;
    values(theta.values()).into_iter().map(&mut shake).collect()
}

fn with(theta: &mut Theta, at: &[f32]) {
    let data = TensorData::new(at.to_vec(), [at.len()]);
    theta.set_values(Tensor::from_data(data, (&Device::flex(), DType::F32)));
}

fn apet(count: u64, pool: Pool, select: Select) -> Method {
    Method::Apet(Apet {
        count: count.into(),
        pool,
        select,
    })
}

fn linear() -> Pool {
    Pool {
        modules: vec![apet_record::Module::Attention, apet_record::Module::Ffn],
        ..Pool::default()
    }
}

/// Methods with a peft type.
fn methods() -> Vec<(&'static str, Method)> {
    let lora = |targets: &[&str]| {
        Method::Lora(Lora {
            rank: 3,
            alpha: 6.0,
            targets: targets.iter().map(|&t| t.into()).collect(),
        })
    };
    let dora = Method::Dora(Dora {
        rank: 3,
        alpha: 6.0,
        targets: vec!["query".into(), "value".into()],
    });
    let scalars = Select::LoraScalar {
        rank: 4,
        alpha: 8.0,
        targets: vec!["query".into(), "value".into()],
    };
    let prompt = Method::Prompt(Prompt {
        tokens: 4,
        deviation: 0.3,
    });
    vec![
        ("lora", lora(&["query", "value"])),
        ("lora-all", lora(&["all-linear"])),
        ("dora", dora),
        ("lora-scalars", apet(300, Pool::default(), scalars)),
        ("prompt", prompt),
        ("ia3", Method::ia3()),
        ("ln-tuning", Method::LayerNorm(Default::default())),
        ("shira", apet(700, linear(), Select::Element)),
        ("shira-rows", apet(200, linear(), Select::Rows {})),
    ]
}

/// Every theta with a peft type is written, read back bit for bit, and kept for peft.
#[test]
fn adapters_written_here_are_read_back() {
    let folder = fixtures().join("peft");
    let json: Value = serde_json::from_slice(&read(&folder.join("inputs.json"))).unwrap();
    for model in ["bert-tiny", "t5-tiny", "bloom-tiny", "llama-tiny"] {
        let plm = load(model);
        let inputs = Inputs::of(&json, model);
        let mut cases: Vec<(String, Method, Option<Pooling>)> = methods()
            .into_iter()
            .map(|(name, method)| (name.to_owned(), method, None))
            .collect();
        if plm.kind() == Kind::Encoder {
            for (name, method) in methods() {
                let pooled = format!("{name}-seq-cls");
                cases.push((pooled, method, Some(Pooling::Pooler)));
            }
        }
        for (name, method, pooling) in cases {
            let mut spec = RunSpec::new(model, "none");
            spec.method = method;
            let objective = match plm.kind() {
                Kind::Encoder => Objective::ClassHead,
                _ => Objective::LabelWords,
            };
            // As in a run, the pooler is part of the pool only if it is used.
            let pooling_of_run = pooling.unwrap_or(Pooling::Mean);
            let used = |site: &apet_plm::Site| {
                plm.kind() != Kind::Encoder
                    || plm.architecture().in_classification(site, pooling_of_run)
            };
            let classes = pooling.map(|_| 3);
            let layout = Layout::over(
                plm.architecture(),
                &spec,
                classes,
                None,
                plm.device(),
                (&used, &|_| true),
            );
            let mut theta = Theta::of(&plm, 3, layout.unwrap());
            let at = shaken(&theta, 0.1);
            with(&mut theta, &at);
            let adapter =
                block_on(theta.to_peft(&plm, model, &at, (objective, pooling_of_run))).unwrap();
            let task = adapter.task_type;
            let before = output(&plm, &theta, task, &inputs);
            let again = Theta::from_peft(&plm, &adapter.config, &adapter.weights).unwrap();
            let after = output(&plm, &again, task, &inputs);
            let kept = kept(task, &inputs, before.len() / last_dimension(&plm, task));
            let off = off(&after, &before, &kept);
            assert!(off <= 2e-6, "{model} {name}: {off}");
            if name.starts_with("shira") {
                // Unused positions hold 0: the stored count includes the padding.
                assert!(adapter.note.contains(&format!(
                    "{} tuned values",
                    theta.info().trainable_parameters
                )));
                assert!(again.info().trainable_parameters >= theta.info().trainable_parameters);
            } else if !(name.starts_with("lora-scalars")
                || name.starts_with("dora") && model == "bloom-tiny")
            {
                // A fused layer's parts all have magnitudes in peft.
                assert_eq!(
                    again.info().trainable_parameters,
                    theta.info().trainable_parameters,
                    "{model} {name}"
                );
            }
            let directory = directory(&format!("{model}-{name}"));
            let write = |file: &str, bytes: &[u8]| {
                std::fs::write(directory.join(file), bytes).unwrap();
            };
            write("adapter_config.json", adapter.config.as_bytes());
            write("adapter_model.safetensors", &adapter.weights);
            // In peft, Llama counts padding as positions, so a row without padding is used.
            let one = model == "llama-tiny" && name == "prompt";
            let inputs = if one { inputs.first() } else { inputs.clone() };
            let before = output(&plm, &theta, task, &inputs);
            let last = last_dimension(&plm, task);
            leave(&directory, (model, task), &inputs, &before, last);
        }
    }
}

fn last_dimension(plm: &Plm, task: &str) -> usize {
    match task {
        "SEQ_CLS" => 3,
        "FEATURE_EXTRACTION" => plm.info().hidden,
        _ => plm.architecture().config.vocabulary(),
    }
}

/// The expected outputs for `tests/peers/adapters.py --load`.
fn leave(
    directory: &Path,
    (model, task): (&str, &str),
    inputs: &Inputs,
    output: &[f32],
    last: usize,
) {
    std::fs::write(directory.join("model.txt"), model).unwrap();
    std::fs::write(directory.join("task.txt"), task).unwrap();
    let ints = |rows: Vec<Vec<i64>>| -> (Vec<usize>, Vec<u8>) {
        let shape = vec![rows.len(), rows[0].len()];
        (
            shape,
            rows.concat().iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    };
    let wide = |rows: &[Vec<u32>]| -> Vec<Vec<i64>> {
        rows.iter()
            .map(|row| row.iter().map(|&id| id.into()).collect())
            .collect()
    };
    let mut tensors = vec![
        ("input_ids", Stored::I64, ints(wide(&inputs.ids))),
        ("attention_mask", Stored::I64, ints(inputs.mask.clone())),
    ];
    if let Some(decoder) = &inputs.decoder {
        tensors.push(("decoder_input_ids", Stored::I64, ints(wide(decoder))));
    }
    let floats: Vec<u8> = output.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (rows, last) = (inputs.ids.len(), last);
    let shape = match task {
        "SEQ_CLS" => vec![rows, last],
        _ => vec![rows, output.len() / rows / last, last],
    };
    tensors.push(("output", Stored::F32, (shape, floats)));
    let views = tensors.iter().map(|(name, dtype, (shape, data))| {
        (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(directory.join("expected.safetensors"), bytes).unwrap();
}

/// A theta merged into the model gives the tuned model, here and in transformers, for which the result
/// is kept.
#[test]
fn merged_models_are_the_tuned_ones() {
    let json: Value = serde_json::from_slice(&read(&fixtures().join("peft/inputs.json"))).unwrap();
    let everywhere = Pool {
        modules: vec![
            apet_record::Module::Attention,
            apet_record::Module::Ffn,
            apet_record::Module::Norm,
            apet_record::Module::Bias,
            apet_record::Module::Embedding,
        ],
        ..Pool::default()
    };
    let mut methods = methods();
    methods.retain(|(name, _)| *name != "prompt");
    methods.push(("full", Method::full()));
    methods.push(("element", apet(900, everywhere, Select::Element)));
    methods.push(("bitfit", Method::Bitfit(Default::default())));
    for model in ["bert-tiny", "t5-tiny", "bloom-tiny", "llama-tiny"] {
        let plm = load(model);
        let inputs = Inputs::of(&json, model);
        let has_biases = plm.sites().iter().any(|site| site.is_bias());
        for (name, method) in methods.clone() {
            if name == "bitfit" && !has_biases {
                continue;
            }
            let heads = match plm.kind() {
                Kind::Encoder => vec![Some(Pooling::Pooler), None],
                _ => vec![None],
            };
            for pooling in heads {
                let mut spec = RunSpec::new(model, "none");
                spec.method = method.clone();
                let classes = pooling.map(|_| 3);
                let all = apet_theta::ALL;
                let layout =
                    Layout::over(plm.architecture(), &spec, classes, None, plm.device(), all);
                let mut theta = Theta::of(&plm, 3, layout.unwrap());
                let at = shaken(&theta, 0.05);
                with(&mut theta, &at);
                let (objective, task) = match (plm.kind(), pooling) {
                    (Kind::Encoder, Some(_)) => (Objective::ClassHead, "SEQ_CLS"),
                    (Kind::Encoder, None) => (Objective::ClassHead, "FEATURE_EXTRACTION"),
                    (Kind::Decoder, _) => (Objective::LabelWords, "CAUSAL_LM"),
                    _ => (Objective::LabelWords, "SEQ_2_SEQ_LM"),
                };
                let purpose = (objective, pooling.unwrap_or(Pooling::Mean));
                let merged = Merged::new(weights(model), &theta, &plm, &at, purpose);
                let merged = block_on(merged).unwrap();
                let before = output(&plm, &theta, task, &inputs);
                if pooling.is_none() {
                    // Nothing remains to add.
                    let tuned = loaded(model, &merged);
                    let mut nothing = RunSpec::new(model, "none");
                    nothing.method = Method::Head(Default::default());
                    let layout = Layout::over(
                        tuned.architecture(),
                        &nothing,
                        Some(2),
                        None,
                        tuned.device(),
                        all,
                    );
                    let after = output(
                        &tuned,
                        &Theta::of(&tuned, 0, layout.unwrap()),
                        task,
                        &inputs,
                    );
                    let tokens = before.len() / last_dimension(&plm, task);
                    let off = off(&after, &before, &kept(task, &inputs, tokens));
                    assert!(off <= 1e-5, "{model} {name}: {off}");
                }
                assert_eq!(merged.classifies(), pooling.is_some());
                assert!(merged.head().is_none());
                let classifier = if pooling.is_some() { "-seq-cls" } else { "" };
                let directory = directory(&format!("{model}-merged-{name}{classifier}"));
                let config = read(&fixtures().join(model).join("config.json"));
                let labels = ["no".into(), "yes".into(), "maybe".into()];
                let config = merged.config(&config, Some(&labels)).unwrap();
                std::fs::write(directory.join("config.json"), config).unwrap();
                std::fs::write(directory.join("model.safetensors"), whole(&merged)).unwrap();
                leave(
                    &directory,
                    (model, task),
                    &inputs,
                    &before,
                    last_dimension(&plm, task),
                );
            }
        }
    }
}

/// A checkpoint as the bytes of model.safetensors.
fn whole(weights: &dyn Weights) -> Vec<u8> {
    let tensors = weights.names().into_iter().map(|name| {
        let info = weights.info(name).unwrap();
        let dtype = info.dtype.unwrap();
        let mut bytes = vec![0; info.shape.iter().product::<usize>() * dtype.size()];
        weights.read(name, 0, &mut bytes).unwrap();
        let stored = match dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::Bf16 => Stored::BF16,
        };
        (name.to_owned(), stored, info.shape, bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, stored, shape, bytes)| {
        (
            name,
            TensorView::new(*stored, shape.clone(), bytes).unwrap(),
        )
    });
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(about)).unwrap()
}

/// Weights that peft cannot hold fail with their name, the reason and an alternative.
#[test]
fn what_peft_can_not_hold_is_refused() {
    let refusal = |model: &str, method: Method| {
        let plm = load(model);
        let mut spec = RunSpec::new(model, "none");
        spec.method = method;
        let layout = Layout::over(
            plm.architecture(),
            &spec,
            None,
            None,
            plm.device(),
            apet_theta::ALL,
        );
        let theta = Theta::of(&plm, 3, layout.unwrap());
        let at = values(theta.values());
        let written =
            block_on(theta.to_peft(&plm, model, &at, (Objective::LabelWords, Pooling::Mean)));
        written.err().unwrap().to_string()
    };
    let pool = |module| Pool {
        modules: vec![module],
        ..Pool::default()
    };
    use apet_record::Module::{Bias, Embedding, Norm};
    for (method, expected) in [
        (
            apet(9, pool(Bias), Select::Element),
            "is a delta on a bias, peft's SHIRA holds linear weights only",
        ),
        (apet(9, pool(Norm), Select::Element), "is a delta on a norm"),
        (
            apet(9, pool(Embedding), Select::Element),
            "is a delta on an embedding, tied or not",
        ),
        (
            Method::Bitfit(Default::default()),
            "is a whole tensor, which peft holds of norms only",
        ),
        (
            Method::adapter(),
            "is a bottleneck adapter, which peft does not have",
        ),
        (
            Method::Combined(Combined {
                parts: vec![Method::lora(), Method::ia3()],
            }),
            "theta has parts that are LORA and IA3",
        ),
        (
            Method::Combined(Combined {
                parts: vec![Method::lora(), Method::lora()],
            }),
            "is the second change of one place",
        ),
    ] {
        let text = refusal("bloom-tiny", method);
        assert!(
            text.contains(expected) && text.contains("export it as"),
            "{text}"
        );
    }
    let text = refusal("t5-tiny", Method::Bitfit(Default::default()));
    assert!(
        text.contains("is a bias of a layer that has none"),
        "{text}"
    );
    // All layers share SHIRA's rank, and a layer may be too small for it.
    let one = Pool {
        sites: Some(r"layer\.0\.intermediate\.dense\.weight$".into()),
        ..linear()
    };
    let text = refusal("bert-tiny", apet(8192, one, Select::Element));
    assert!(
        text.contains("SHIRA of rank 43 has 8256 values a layer, this one has 8192 scalars"),
        "{text}"
    );
}
