//! A model of the catalogue, from the hub to its first tokens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use safetensors::tensor::{Dtype, TensorView};

use super::{FILES, Machine, stand_in::Hub};

/// Pythia's smallest size, as the hub has it: in half precision, with the buffers of an older
/// transformers. It is checked against the catalogue, and it runs.
#[test]
fn a_pythia_of_the_catalogue_is_fetched_and_runs() {
    let hub = Hub::start(&[]);
    hub.with(|hub| hub.id = "EleutherAI/pythia-14m");
    let config = r#"{"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"],
        "vocab_size": 50304, "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
        "intermediate_size": 512, "hidden_act": "gelu", "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-05, "rotary_emb_base": 10000, "rotary_pct": 0.25,
        "use_parallel_residual": true, "tie_word_embeddings": false, "bos_token_id": 0,
        "eos_token_id": 0, "torch_dtype": "float16"}"#;
    hub.put(FILES[0], config.replace("128", "256"));
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/gptneox-tiny/tokenizer.json");
    hub.put(FILES[1], fs::read(tokenizer).unwrap());
    hub.put(FILES[2], pythia(128, 512));
    let machine = Machine::with(&hub);
    let said = machine.refused(&["pythia-14m"], &[]);
    let expected = "parameters, expected 14067712 for pythia-14m";
    assert!(said.ends_with(expected), "{said}");

    // Another machine: this one has the first config in the hub's cache.
    let machine = Machine::with(&hub);
    hub.put(FILES[0], config);
    machine.succeeds(&["pythia-14m"], &[]);
    assert!(machine.stored("pythia-14m", FILES[2]) == pythia(128, 512));
    let output = Command::new(env!("CARGO_BIN_EXE_apet"))
        .args(["generate", "--model", "pythia-14m", "--prompt", "the food"])
        .args(["--most", "2", "--ignore-end", "--json"])
        .env("APET_HOME", machine.path("store"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Weights of six blocks in half precision, all 0.
fn pythia(hidden: usize, inner: usize) -> Vec<u8> {
    let zeros = vec![0; 50_304 * hidden * 2];
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, dtype: Dtype, shape: Vec<usize>| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let view = TensorView::new(dtype, shape, &zeros[..bytes]).unwrap();
        tensors.insert(name, view);
    };
    for table in ["gpt_neox.embed_in", "embed_out"] {
        add(format!("{table}.weight"), Dtype::F16, vec![50_304, hidden]);
    }
    let mut linear = |name: &str, outputs: usize, inputs: usize| {
        add(format!("{name}.weight"), Dtype::F16, vec![outputs, inputs]);
        add(format!("{name}.bias"), Dtype::F16, vec![outputs]);
    };
    for layer in 0..6 {
        let name = |part: &str| format!("gpt_neox.layers.{layer}.{part}");
        linear(&name("attention.query_key_value"), 3 * hidden, hidden);
        linear(&name("attention.dense"), hidden, hidden);
        linear(&name("mlp.dense_h_to_4h"), inner, hidden);
        linear(&name("mlp.dense_4h_to_h"), hidden, inner);
    }
    for layer in 0..6 {
        let name = |part: &str| format!("gpt_neox.layers.{layer}.{part}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(name(&format!("{norm}.weight")), Dtype::F16, vec![hidden]);
            add(name(&format!("{norm}.bias")), Dtype::F16, vec![hidden]);
        }
        add(name("attention.bias"), Dtype::BOOL, vec![1, 1, 64, 64]);
        add(name("attention.masked_bias"), Dtype::F16, vec![1]);
        add(name("attention.rotary_emb.inv_freq"), Dtype::F16, vec![4]);
    }
    for part in ["weight", "bias"] {
        add(
            format!("gpt_neox.final_layer_norm.{part}"),
            Dtype::F16,
            vec![hidden],
        );
    }
    safetensors::serialize(tensors, None).unwrap()
}
