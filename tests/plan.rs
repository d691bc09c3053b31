//! Compares a plan's predicted memory with a run's: every allocation of this process is counted.

#![expect(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test's helpers fail by panic; an allocator is unsafe by nature"
)]

#[path = "support/counting.rs"]
mod counting;

use apet_plm::{Config, ModelArchitecture, Plm, PlmFiles, Random};
use apet_record::{Apet, Dtype, Method, Objective, RunSpec};
use apet_tasks::{Answer, Example, Task};
use apet_train::{Plan, Trainer};
use burn::tensor::Device;
use counting::Counting;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Widths of a model: states, feed-forward layer, heads, blocks, rows of the token table.
#[derive(Clone, Copy, Debug)]
struct Widths(usize, usize, usize, usize, usize);

fn config(family: &str, Widths(d, inner, heads, blocks, vocabulary): Widths) -> String {
    let encoder = json!({
        "model_type": family, "vocab_size": vocabulary, "hidden_size": d,
        "num_hidden_layers": blocks, "num_attention_heads": heads,
        "intermediate_size": inner, "max_position_embeddings": 514, "eos_token_id": 2,
    });
    let config = match family {
        "bloom" => json!({
            "model_type": "bloom", "vocab_size": vocabulary, "hidden_size": d,
            "n_layer": blocks, "n_head": heads, "eos_token_id": 2,
        }),
        "llama" => {
            let mut config = encoder;
            config["num_key_value_heads"] = (heads / 2).into();
            config
        }
        "t5" => json!({
            "model_type": "t5", "vocab_size": vocabulary, "d_model": d, "d_kv": d / heads,
            "d_ff": inner, "num_layers": blocks, "num_heads": heads, "eos_token_id": 1,
            "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false,
        }),
        _ => encoder,
    };
    config.to_string()
}

fn task(rows: usize, length: usize) -> Task {
    let text = "a ".repeat(2 * length);
    let example = |label| Example {
        text: text.clone(),
        pair: None,
        answer: Answer::Class(label),
    };
    Task {
        name: "t".into(),
        labels: vec!["no".into(), "yes".into()],
        train: (0..rows).map(|i| example(i % 2)).collect(),
        dev: (0..32).map(|i| example(i % 2)).collect(),
        test: vec![example(0)],
        columns: ("text".into(), None),
        ..Task::default()
    }
}

/// Planned and measured bytes of two steps and an evaluation.
fn measure(family: &str, widths: Widths, spec: &RunSpec) -> (u64, u64) {
    let text = config(family, widths);
    let architecture = ModelArchitecture::new("m", Config::read("config.json", &text).unwrap());
    let planned = Plan::new(&architecture, spec, 2).unwrap().peak();
    let tokenizer = match family {
        "bert" | "mpnet" => "bert-tiny",
        "t5" => "t5-tiny",
        _ => "llama-tiny",
    };
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
    let tokenizer = std::fs::read(format!("{fixtures}/{tokenizer}/tokenizer.json")).unwrap();
    let weights = Random::new(&architecture, spec.dtype);
    let rows = spec.train.batch_size;
    let task = task(rows, spec.task.max_length);
    let before = counting::watch();
    let files = PlmFiles {
        name: "m",
        config: &text,
        tokenizer: &tokenizer,
        weights: &weights,
    };
    let plm = Plm::load(files, spec.dtype, &Device::flex()).unwrap();
    let mut trainer = Trainer::new(&plm, &task, spec, None).unwrap();
    for _ in 0..2 {
        trainer.step(&[(0..rows).collect()], 1e-3).unwrap();
    }
    futures_lite::future::block_on(trainer.score_dev()).unwrap();
    (planned, (counting::peak() - before) as u64)
}

/// A single test, so that nothing else allocates at the same time.
#[test]
fn a_plan_is_what_a_run_takes() {
    let small = Widths(256, 1024, 4, 6, 600);
    let spec = |method: Method, objective, rows, length, dtype| {
        let mut spec = RunSpec::new("m", "t");
        spec.method = method;
        spec.objective = objective;
        spec.dtype = dtype;
        spec.train.batch_size = rows;
        spec.task.max_length = length;
        spec
    };
    let (class, words) = (Objective::ClassHead, Objective::LabelWords);
    let mut worst: f64 = 0.0;
    let mut check = |family: &str, widths: Widths, spec: RunSpec| {
        let (planned, peak) = measure(family, widths, &spec);
        let ratio = planned as f64 / peak as f64;
        let (rows, length) = (spec.train.batch_size, spec.task.max_length);
        println!(
            "{family} {widths:?} {} {:?} {rows} x {length}, {}{}: planned {planned}, took {peak}, {ratio:.3}",
            spec.method.name(),
            spec.objective,
            spec.dtype.name(),
            match spec.train.gradient_checkpointing {
                true => ", block by block",
                false => "",
            },
        );
        assert!((0.9..=1.1).contains(&ratio));
        worst = worst.max((ratio - 1.0).abs());
    };
    for (family, objective) in [
        ("bert", class),
        ("mpnet", class),
        ("bloom", class),
        ("bloom", words),
        ("llama", words),
        ("gpt_neox", words),
        ("t5", words),
    ] {
        let methods = [Method::default(), Method::lora(), Method::full()];
        for method in methods {
            for (rows, length) in [(16, 64), (2, 512), (1, 64)] {
                let spec = spec(method.clone(), objective, rows, length, Dtype::F32);
                check(family, small, spec);
            }
        }
        for method in [Method::prompt(), Method::adapter(), Method::ia3()] {
            check(family, small, spec(method, objective, 8, 64, Dtype::F32));
        }
        // Only the upper half of the blocks needs gradients.
        let mut upper = spec(Method::default(), objective, 8, 128, Dtype::F32);
        if let Method::Apet(Apet { pool, .. }) = &mut upper.method {
            let blocks = if family == "t5" { 12 } else { 6 };
            pool.layers = Some(apet_record::Layers {
                first: blocks / 2,
                last: blocks - 1,
            });
        }
        check(family, small, upper);
        for method in [Method::default(), Method::lora(), Method::full()] {
            let mut again = spec(method, objective, 16, 64, Dtype::F32);
            again.train.gradient_checkpointing = true;
            check(family, small, again);
        }
        let half = spec(Method::default(), objective, 8, 64, Dtype::Bf16);
        check(family, Widths(512, 2048, 8, 4, 600), half);
    }
    // The shape of MiniLM-L6, and a T5 with a table of its size.
    let apet = |objective, dtype| spec(Method::default(), objective, 16, 128, dtype);
    check(
        "bert",
        Widths(384, 1536, 12, 6, 30_522),
        apet(class, Dtype::F32),
    );
    check(
        "t5",
        Widths(512, 1024, 8, 8, 32_128),
        apet(words, Dtype::Bf16),
    );
    println!("largest deviation: {:.1} %", 100.0 * worst);
}
