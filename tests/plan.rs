//! What a plan predicts is what a run takes: every allocation of this process is counted.

#![expect(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test's helpers fail by panic; an allocator is unsafe by nature"
)]

#[path = "support/counting.rs"]
mod counting;
#[path = "support/random.rs"]
mod random;

use apet_plm::{Config, Dtype, Plm, PlmFiles};
use apet_record::RunSpec;
use apet_tasks::{Example, Task};
use apet_train::Trainer;
use burn::tensor::Device;
use counting::Counting;
use random::Random;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn config(family: &str, d: usize, ff: usize, heads: usize, layers: usize) -> String {
    let vocab = 600;
    match family {
        "bert" => format!(
            r#"{{"model_type":"bert","vocab_size":{vocab},"hidden_size":{d},"num_hidden_layers":{layers},"num_attention_heads":{heads},"intermediate_size":{ff},"max_position_embeddings":512}}"#
        ),
        "mpnet" => format!(
            r#"{{"model_type":"mpnet","vocab_size":{vocab},"hidden_size":{d},"num_hidden_layers":{layers},"num_attention_heads":{heads},"intermediate_size":{ff},"max_position_embeddings":514}}"#
        ),
        "bloom" => format!(
            r#"{{"model_type":"bloom","vocab_size":{vocab},"hidden_size":{d},"n_layer":{layers},"n_head":{heads},"eos_token_id":2}}"#
        ),
        "llama" => format!(
            r#"{{"model_type":"llama","vocab_size":{vocab},"hidden_size":{d},"num_hidden_layers":{layers},"num_attention_heads":{heads},"num_key_value_heads":{},"intermediate_size":{ff},"tie_word_embeddings":true,"eos_token_id":2}}"#,
            heads / 2
        ),
        "t5" => format!(
            r#"{{"model_type":"t5","vocab_size":{vocab},"d_model":{d},"d_kv":{},"d_ff":{ff},"num_layers":{layers},"num_heads":{heads},"feed_forward_proj":"gated-gelu","tie_word_embeddings":false,"eos_token_id":1}}"#,
            d / heads
        ),
        _ => unreachable!(),
    }
}

fn measure(family: &str, dims: [usize; 4], spec: &str, rows: usize, length: usize) -> usize {
    let [d, ff, heads, layers] = dims;
    let text = config(family, d, ff, heads, layers);
    let config = Config::read("c", &text).unwrap();
    let fixture = if family == "bert" || family == "mpnet" {
        "bert-tiny"
    } else if family == "t5" {
        "t5-tiny"
    } else {
        "llama-tiny"
    };
    let tokenizer = std::fs::read(format!(
        "{}/../../tests/fixtures/{fixture}/tokenizer.json",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap();
    let spec = RunSpec::from_json(spec).unwrap();
    let weights = Random::of(&config, Dtype::F32);
    let files = PlmFiles {
        name: "m",
        config: &text,
        tokenizer: &tokenizer,
        weights: &weights,
    };
    let words = "a ".repeat(length * 2);
    let example = |label| Example {
        text: words.clone(),
        pair: None,
        label,
    };
    let task = Task {
        name: "t".into(),
        labels: vec!["no".into(), "yes".into()],
        train: (0..rows).map(|i| example(i % 2)).collect(),
        dev: vec![example(0)],
        test: vec![example(0)],
        columns: ("text".into(), None),
        split_note: String::new(),
    };
    let before = counting::watch();
    let plm = Plm::load(files, Dtype::F32, &Device::flex()).unwrap();
    let weights_bytes = counting::held() - before;
    let mut trainer = Trainer::new(&plm, &task, &spec).unwrap();
    let theta = trainer.theta().values().dims()[0];
    let base = counting::held() - before;
    counting::watch();
    for _ in 0..2 {
        let step = trainer.step(&[(0..rows).collect()], 1e-3).unwrap();
        drop(step);
    }
    let peak = counting::peak() - before;
    let n = (rows * length) as f64;
    println!(
        "{family} {dims:?} {} {rows}x{length}: weights {weights_bytes} theta {theta} base {base} peak {peak} over base {} = per token per layer {:.3} d ; {:.1} floats",
        spec.method.name(),
        peak - base,
        (peak - base) as f64 / 4.0 / n / layers as f64 / d as f64,
        (peak - base) as f64 / 4.0 / n / layers as f64
    );
    peak
}

#[test]
fn a_plan_is_what_a_run_takes() {
    let spec = |method: &str, objective: &str, rows: usize, length: usize| {
        format!(
            r#"{{"model":"m","task":{{"name":"t","max_length":{length}}},"method":{method},"objective":"{objective}","train":{{"steps":2,"batch_size":{rows}}}}}"#
        )
    };
    let apet = r#"{"name":"apet","count":5000}"#;
    let head = r#"{"name":"head"}"#;
    let lora = r#"{"name":"lora"}"#;
    let bitfit = r#"{"name":"bitfit"}"#;
    let full = r#"{"name":"full"}"#;
    for (family, objective) in [
        ("bert", "class_head"),
        ("bloom", "class_head"),
        ("bloom", "label_words"),
        ("t5", "label_words"),
        ("llama", "label_words"),
        ("mpnet", "class_head"),
    ] {
        let lora = if family == "bert" {
            lora
        } else if family == "bloom" {
            r#"{"name":"lora","targets":["query_key_value[q]","query_key_value[v]"]}"#
        } else if family == "t5" {
            r#"{"name":"lora","targets":["q","v"]}"#
        } else if family == "mpnet" {
            r#"{"name":"lora","targets":["q","v"]}"#
        } else {
            r#"{"name":"lora","targets":["q_proj","v_proj"]}"#
        };
        for method in [apet, lora, bitfit, full, head] {
            if method == head && objective == "label_words" {
                continue;
            }
            if method == bitfit && (family == "t5" || family == "llama") {
                continue;
            }
            for (layers, t) in [(4, 64), (8, 64)] {
                measure(
                    family,
                    [128, 512, 4, layers],
                    &spec(method, objective, 16, t),
                    16,
                    t,
                );
            }
        }
        for method in [apet, lora] {
            measure(
                family,
                [128, 512, 4, 8],
                &spec(method, objective, 16, 128),
                16,
                128,
            );
            measure(
                family,
                [128, 1024, 4, 8],
                &spec(method, objective, 16, 64),
                16,
                64,
            );
            measure(
                family,
                [128, 512, 8, 8],
                &spec(method, objective, 16, 64),
                16,
                64,
            );
        }
    }
}
