//! Loading takes the memory of the weights and no more: every allocation of this process
//! is counted.

#![expect(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test's helpers fail by panic; an allocator is unsafe by nature"
)]

#[path = "../../../tests/support/counting.rs"]
mod counting;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use apet_plm::{Dtype, Plm, PlmFiles, ReadAt, Safetensors};
use burn::tensor::Device;
use counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A file that is read in pieces.
struct OnDisk(Mutex<File>, u64);

impl ReadAt for OnDisk {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        use std::io::Read;
        let mut file = self.0.lock().unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_exact(into).map_err(|e| e.to_string())
    }
}

const CONFIG: &str = r#"{"model_type": "bert", "vocab_size": 30522, "hidden_size": 768,
    "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "max_position_embeddings": 512}"#;

/// A BERT base as a file of zeros, which takes no room on the disk.
fn checkpoint(folder: &Path, dtype: &str, bytes: usize) -> OnDisk {
    let (d, inner) = (768, 3072);
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push((name, shape.to_vec()));
    for (name, rows) in [("word", 30522), ("position", 512), ("token_type", 2)] {
        add(format!("embeddings.{name}_embeddings.weight"), &[rows, d]);
    }
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..12 {
        let at = |part: &str| format!("encoder.layer.{layer}.{part}");
        for (part, shape) in [
            ("attention.self.query", [d, d]),
            ("attention.self.key", [d, d]),
            ("attention.self.value", [d, d]),
            ("attention.output.dense", [d, d]),
            ("intermediate.dense", [inner, d]),
            ("output.dense", [d, inner]),
        ] {
            add(at(&format!("{part}.weight")), &shape);
            add(at(&format!("{part}.bias")), &shape[..1]);
        }
        norms.extend([at("attention.output.LayerNorm"), at("output.LayerNorm")]);
    }
    for norm in norms {
        add(format!("{norm}.weight"), &[d]);
        add(format!("{norm}.bias"), &[d]);
    }
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let size = shape.iter().product::<usize>() * bytes;
        let offsets = [end, end + size];
        let about = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert(name, about);
        end += size;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let path = folder.join(format!("{dtype}.safetensors"));
    let mut file = File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    let size = (8 + header.len() + end) as u64;
    file.set_len(size).unwrap();
    OnDisk(Mutex::new(File::open(path).unwrap()), size)
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn loading_takes_the_memory_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/bert-tiny");
    let tokenizer = std::fs::read(fixture.join("tokenizer.json")).unwrap();
    for (dtype, stored, number) in [
        ("F32", 4, Dtype::F32),
        ("BF16", 2, Dtype::F32),
        ("F32", 4, Dtype::Bf16),
        ("F16", 2, Dtype::F16),
    ] {
        let bytes = checkpoint(folder.path(), dtype, stored);
        let file_size = bytes.size();
        let before = counting::watch();
        let weights = Safetensors::open("x", [("x".to_owned(), bytes)]).unwrap();
        let files = PlmFiles {
            name: "base",
            config: CONFIG,
            tokenizer: &tokenizer,
            weights: &weights,
        };
        let plm = Plm::load(files, number, &Device::flex()).unwrap();
        let peak = counting::peak() - before;
        let wanted = plm.info().parameters as usize * number.size();
        let ratio = peak as f64 / wanted as f64;
        println!(
            "{dtype} file of {file_size} bytes as {number:?}: peak {peak}, {ratio:.3} of the weights"
        );
        assert!(stored < 4 || file_size > 400_000_000);
        assert!(
            ratio <= 1.15,
            "{dtype} as {number:?}: {peak} for {wanted} bytes"
        );
    }
}
