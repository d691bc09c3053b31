//! The cost of a step on `cpu` relative to other steps of the same run, with MiniLM-L6's shape: ratios that a clear
//! regression changes, not absolute times. The figures are in docs/performance.md.

#![expect(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test's helpers fail by panic; an allocator is unsafe by nature"
)]

#[path = "support/counting.rs"]
mod counting;

use std::time::{Duration, Instant};

use apet_plm::{Config, ModelArchitecture, Plm, PlmFiles, Random};
use apet_record::{Apet, Layers, Method, Pool, RunSpec};
use apet_train::{Trainer, random_rows};
use burn::tensor::Device;
use counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONFIG: &str = r#"{
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6,
    "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512
}"#;
const TOKENIZER: &str =
    r#"{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}"#;
/// Rows of a batch, and their length.
const SIZE: [usize; 2] = [8, 128];
const ROUNDS: usize = 4;

fn apet(count: u64, layers: Option<Layers>) -> Method {
    let pool = Pool {
        layers,
        ..Pool::default()
    };
    Method::Apet(Apet {
        count: count.into(),
        pool,
        select: Default::default(),
    })
}

/// The fastest step of each case, measured in turn, because other load only slows steps down; and the
/// peak bytes of a step without the model.
fn measure(plm: &Plm, methods: &[(Method, bool)]) -> Vec<(Duration, usize)> {
    let mut spec = RunSpec::new("m", "t");
    [spec.train.batch_size, spec.task.max_length] = SIZE;
    let rows = random_rows(plm, &spec, 2);
    let batch = [(0..SIZE[0]).collect()];
    let mut best = vec![(Duration::MAX, 0); methods.len()];
    for _ in 0..ROUNDS {
        for ((method, by_block), (least, most)) in methods.iter().zip(&mut best) {
            spec.method = method.clone();
            spec.train.gradient_checkpointing = *by_block;
            let before = counting::watch();
            let mut trainer = Trainer::on(plm, &spec, 2, rows.clone()).unwrap();
            trainer.step(&batch, 1e-3).unwrap();
            let begun = Instant::now();
            trainer.step(&batch, 1e-3).unwrap();
            *least = begun.elapsed().min(*least);
            *most = (counting::peak() - before).max(*most);
        }
    }
    best
}

/// A single test, so that nothing else runs or allocates at the same time.
#[test]
fn few_parameters_cost_less_than_all() {
    let architecture = ModelArchitecture::new("m", Config::read("config.json", CONFIG).unwrap());
    let files = PlmFiles {
        name: "m",
        config: CONFIG,
        tokenizer: TOKENIZER.as_bytes(),
        weights: &Random::new(&architecture, Default::default()),
    };
    let model = counting::watch();
    let plm = Plm::load(files, Default::default(), &Device::flex()).unwrap();
    let model = counting::held() - model;
    let top = Layers { first: 4, last: 5 };
    let names = [
        "everything",
        "LoRA",
        "10",
        "10,000",
        "10,000 on top",
        "1,000,000",
        "10,000 block by block",
    ];
    let methods = [
        Method::full(),
        Method::lora(),
        apet(10, None),
        apet(10_000, None),
        apet(10_000, Some(top)),
        apet(1_000_000, None),
    ];
    let by_block = (apet(10_000, None), true);
    let methods: Vec<(Method, bool)> = methods
        .map(|method| (method, false))
        .into_iter()
        .chain([by_block])
        .collect();
    let found = measure(&plm, &methods);
    for (name, (time, bytes)) in names.iter().zip(&found) {
        println!("{name}: {:.0} ms, {bytes} bytes", time.as_secs_f64() * 1e3);
    }
    let time = |at: usize| found[at].0.as_secs_f64();
    let at_most = |what: &str, ratio: f64, most: f64| {
        println!("{what}: {ratio:.2}, at most {most}");
        assert!(ratio <= most, "{what}: {ratio:.2} is above {most}");
    };
    at_most("LoRA / everything", time(1) / time(0), 0.8);
    at_most("10,000 / everything", time(3) / time(0), 0.8);
    at_most("10,000 / 10", time(3) / time(2), 1.4);
    at_most("10,000 on top / anywhere", time(4) / time(3), 0.8);
    at_most("1,000,000 / everything", time(5) / time(0), 1.15);
    // One more forward pass, which is a third of the step.
    at_most("10,000 block by block / 10,000", time(6) / time(3), 1.6);
    let bytes = |at: usize| (model + found[at].1) as f64;
    let beside = |at: usize| found[at].1 as f64;
    at_most(
        "memory beside the model, block by block / 10,000",
        beside(6) / beside(3),
        0.4,
    );
    at_most("memory, 10,000 / everything", bytes(3) / bytes(0), 0.75);
}
