//! Micro-benchmarks of what stands before the first step: a checkpoint of MiniLM-L6's size, a
//! task's rows, tokens, and a batch. `cargo bench --profile release --workspace --exclude apet-web
//! --exclude apet-view --exclude xtask --bench loaders`, which shards the build of the tests.

use apet_plm::{Dtype, Plm, PlmFiles, Safetensors};
use apet_record::{Stream, TaskSpec};
use apet_tasks::{SplitFile, SplitFiles};
use burn::tensor::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A task's rows.
const ROWS: usize = 10_000;

type Failure = Box<dyn std::error::Error>;

fn fixture(name: &str) -> Result<Vec<u8>, Failure> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/bert-tiny"
    );
    Ok(std::fs::read(format!("{folder}/{name}"))?)
}

/// A checkpoint of zeros in which every tensor of `config` is, in numbers of `size` bytes.
fn checkpoint(config: &str, dtype: &str, size: usize) -> Result<Vec<u8>, Failure> {
    let config = apet_plm::Config::read("config.json", config)?;
    let architecture = apet_plm::ModelArchitecture::new("made", config);
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for site in &architecture.sites {
        let offsets = [end, end + site.len() * size];
        let about =
            serde_json::json!({"dtype": dtype, "shape": site.shape, "data_offsets": offsets});
        header.insert(site.tensor.clone(), about);
        end = offsets[1];
    }
    let header = serde_json::to_vec(&header)?;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + end, 0);
    Ok(bytes)
}

fn models(c: &mut Criterion) -> Result<(), Failure> {
    let tokenizer = fixture("tokenizer.json")?;
    let config = r#"{"model_type": "bert", "vocab_size": 30522, "hidden_size": 384,
        "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
        "max_position_embeddings": 512}"#;
    let mut group = c.benchmark_group("load 22.7 million");
    group.sample_size(10);
    for (stored, size) in [("F32", 4), ("F16", 2)] {
        let bytes = checkpoint(config, stored, size)?;
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        for dtype in [Dtype::F32, Dtype::F16] {
            let name = format!("{stored} as {}", dtype.name());
            let load = || -> Result<Plm, Failure> {
                let weights = Safetensors::open("made", [("made".to_owned(), &bytes[..])])?;
                let files = PlmFiles {
                    name: "made",
                    config,
                    tokenizer: &tokenizer,
                    weights: &weights,
                };
                Ok(Plm::load(files, dtype, &Device::flex())?)
            };
            load()?;
            group.bench_function(name, |b| b.iter(|| load().is_ok()));
        }
    }
    group.finish();
    Ok(())
}

fn rows(c: &mut Criterion) -> Result<(), Failure> {
    let mut stream = Stream::new("rows", 0);
    let words = [
        "the", "film", "was", "good", "not", "a", "bad", "story", "an", "actor",
    ];
    let mut text = || {
        let words = std::iter::repeat_with(|| words[stream.below(10) as usize]);
        words.take(20).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..ROWS).map(|_| text()).collect();
    let lines = texts.iter().enumerate();
    let lines: String = lines
        .map(|(row, text)| format!("{{\"text\": \"{text}\", \"label\": {}}}\n", row % 2))
        .collect();
    let spec: TaskSpec = serde_json::from_str(r#"{"name": "rotten_tomatoes"}"#)?;
    let files = SplitFiles {
        train: vec![SplitFile {
            name: "train.jsonl".into(),
            bytes: lines.into_bytes(),
        }],
        ..SplitFiles::default()
    };
    let mut group = c.benchmark_group("10,000 rows of 20 words");
    group.throughput(Throughput::Elements(ROWS as u64));
    apet_tasks::load(&spec, 0, files.clone())?;
    group.bench_function("read JSONL", |b| {
        b.iter(|| apet_tasks::load(&spec, 0, files.clone()).is_ok());
    });

    let (config, weights) = (fixture("config.json")?, fixture("model.safetensors")?);
    let weights = Safetensors::open("bert-tiny", [("bert-tiny".to_owned(), &weights[..])])?;
    let files = PlmFiles {
        name: "bert-tiny",
        config: std::str::from_utf8(&config)?,
        tokenizer: &fixture("tokenizer.json")?,
        weights: &weights,
    };
    let plm = Plm::load(files, Dtype::F32, &Device::flex())?;
    let encode = || {
        let texts = texts.iter().map(|text| (text.as_str(), None));
        plm.tokenizer().encode(texts, 64)
    };
    let encoded = encode()?;
    group.sample_size(10);
    group.bench_function("tokens", |b| b.iter(|| encode().is_ok()));
    group.finish();
    c.bench_function("a batch of 32 rows", |b| {
        let rows: Vec<_> = encoded.iter().take(32).collect();
        b.iter(|| plm.batch(&rows));
    });
    Ok(())
}

fn loaders(c: &mut Criterion) {
    if let Err(error) = models(c).and_then(|()| rows(c)) {
        eprintln!("error: {error}");
    }
}

criterion_group!(all, loaders);
criterion_main!(all);
