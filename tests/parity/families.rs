//! Every family, on a tiny checkpoint with random weights: hidden states, logits, loss, the
//! gradient of every parameter and greedy generation equal those of transformers.

use apet_plm::{Batch, Dtype, Encoded, Frozen, Kind, Plm, PlmFiles, Prompted, Safetensors, Site};
use apet_record::{Method, Pooling, RunSpec};
use apet_theta::{DeltaHooks, Layout, Leaves, Theta, Used};
use burn::{
    Tensor,
    tensor::{DType, Device, Int, TensorData},
};
use futures_lite::future::block_on;
use safetensors::{Dtype as Stored, SafeTensors, tensor::TensorView};

use super::{difference, f32s, fixture, i64s, load, read, values};

/// A device's tolerances, relative to a tensor's largest value.
#[derive(Clone, Copy)]
struct Bounds {
    states: f32,
    gradients: f32,
}

/// The tolerances on `cpu`.
const CPU: Bounds = Bounds {
    states: 1e-4,
    gradients: 1e-3,
};
/// For fixtures that differ from transformers by rounding only.
const TIGHT: Bounds = Bounds {
    states: 2e-5,
    gradients: 1e-3,
};
/// Mesa's lavapipe sums in a different order and has its own exp.
const WGPU: Bounds = Bounds {
    states: 3e-4,
    gradients: 3e-3,
};

/// A tiny checkpoint with its figures. The figures have token ids, so any tokenizer will do.
struct Golden {
    plm: Plm,
    bytes: Vec<u8>,
    bounds: Bounds,
}

impl Golden {
    fn open(name: &str, device: &Device, bounds: Bounds) -> Self {
        Self {
            plm: load(&fixture(name), &fixture("bert-tiny"), device),
            bytes: read(&fixture(&format!("{name}/golden.safetensors"))),
            bounds,
        }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn ints(&self, name: &str) -> Vec<i64> {
        i64s(&self.file(), name)
    }

    fn length(&self, name: &str) -> usize {
        self.file().tensor(name).unwrap().shape()[1]
    }

    /// The tokens of each row of `{prefix}input_ids` that are not padding.
    fn rows(&self, prefix: &str, ids: &str, mask: &str) -> Vec<Vec<u32>> {
        let [ids, mask] = [ids, mask].map(|name| format!("{prefix}{name}"));
        let length = self.length(&ids);
        let (ids, mask) = (self.ints(&ids), self.ints(&mask));
        let row = |(ids, mask): (&[i64], &[i64])| {
            let kept = ids.iter().zip(mask).filter(|(_, m)| **m == 1);
            kept.map(|(id, _)| *id as u32).collect()
        };
        let rows = ids.chunks_exact(length).zip(mask.chunks_exact(length));
        rows.map(row).collect()
    }

    /// Compares states `[rows, length, width]` with a stored tensor, at positions with tokens.
    fn states(&self, what: &str, found: Tensor<3>, stored: &str, mask: &str) {
        let [rows, length, width] = found.dims();
        let (found, stored) = (values(found), f32s(&self.file(), stored));
        let mask = self.ints(mask);
        assert_eq!(mask.len(), rows * length, "{what}");
        let kept = |v: Vec<f32>| -> Vec<f32> {
            let tokens = v.chunks_exact(width).zip(&mask);
            tokens
                .filter(|(_, m)| **m == 1)
                .flat_map(|(v, _)| v.to_vec())
                .collect()
        };
        self.close(what, &kept(found), &kept(stored));
    }

    fn close(&self, what: &str, found: &[f32], expected: &[f32]) {
        let (off, scale) = difference(found, expected);
        assert!(
            off <= self.bounds.states * scale,
            "{what}: {off} of {scale}"
        );
    }

    /// Compares the loss, and the gradient of every parameter, with `{prefix}grad.NAME`.
    fn gradients(&self, prefix: &str, tuned: &Everything, loss: Tensor<1>) {
        let stored = f32s(&self.file(), &format!("{prefix}loss"));
        self.close("loss", &values(loss.clone().inner()), &stored);
        let theta = &tuned.theta;
        let found = values(theta.gradient(&tuned.leaves, &mut loss.backward()));
        let file = self.file();
        let grads = format!("{prefix}grad.");
        let names = file.names().into_iter();
        let mut missing: Vec<&str> = names.filter_map(|n| n.strip_prefix(&grads)).collect();
        for weight in theta.weights() {
            let found = &found[weight.offset..weight.offset + weight.len()];
            let (tensor, rows) = match weight.site() {
                Some(site) => {
                    let site: &Site = &self.plm.sites()[site];
                    (site.tensor.clone(), site.rows)
                }
                None => (weight.name.replace("head.", tuned.head), None),
            };
            if tuned.head.is_empty() && weight.is_head() {
                continue;
            }
            let whole = f32s(&file, &format!("{grads}{tensor}"));
            let width = weight.shape.iter().skip(1).product::<usize>();
            let expected: Vec<f32> = match rows {
                None => whole,
                Some(rows) => (0..weight.shape[0])
                    .flat_map(|row| whole[rows.of(row) * width..][..width].to_vec())
                    .collect(),
            };
            // transformers' embedding lookup gives its padding row no gradient. Only Llama's loss has
            // one: it scores a first token from the padding before it.
            let skip = if tensor.ends_with("embed_tokens.weight") {
                width
            } else {
                0
            };
            let (off, scale) = difference(&found[skip..], &expected[skip..]);
            let bound = self.bounds.gradients * scale + 1e-6;
            assert!(
                off <= bound,
                "gradient of {}: {off} of {scale}",
                weight.name
            );
            missing.retain(|name| *name != tensor);
        }
        missing.retain(|name| !tuned.untested.contains(name));
        assert!(
            missing.is_empty(),
            "no site has the gradients of {missing:?}"
        );
    }

    /// Greedy generation from left- or right-padded prompts, in one batch and one by one.
    fn generation(&self, ids: &str, new: Vec<Vec<i64>>) {
        let prompts = self.rows("gen.", ids, "attention_mask");
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let new: Vec<Vec<u32>> = new
            .iter()
            .map(|row| row.iter().map(|&id| id as u32).collect())
            .collect();
        let together = block_on(self.plm.generate(&prompts, 12, &[], &Frozen)).unwrap();
        assert_eq!(together, new);
        for (prompt, new) in prompts.iter().zip(&new) {
            let alone = block_on(self.plm.generate(&[prompt], 12, &[], &Frozen)).unwrap();
            assert_eq!(&alone[0], new);
        }
        // An end token ends only its row.
        let end = new[0][4];
        let first = new[0].iter().position(|&id| id == end).unwrap();
        let ended = block_on(self.plm.generate(&prompts, 12, &[end], &Frozen)).unwrap();
        assert_eq!(ended[0], new[0][..first]);
    }
}

/// Every parameter of a model as theta.
struct Everything {
    theta: Theta,
    leaves: Leaves,
    /// The name of the classification head in the checkpoint; empty if there is none.
    head: &'static str,
    /// Parameters of the checkpoint's head that the lab does not have.
    untested: &'static [&'static str],
}

impl Everything {
    fn new(plm: &Plm, pooling: Pooling, classes: usize) -> Self {
        let mut spec = RunSpec::new("golden", "golden");
        spec.method = Method::full();
        spec.head.pooling = pooling;
        // A language model's loss uses every site, a pooler only if it is enabled.
        let used = |site: &Site| {
            plm.kind() != Kind::Encoder || plm.architecture().in_classification(site, pooling)
        };
        let used: Used<'_> = (&used, &|_| true);
        let layout = Layout::over(
            plm.architecture(),
            &spec,
            Some(classes),
            None,
            plm.device(),
            used,
        );
        let layout = layout.unwrap();
        let theta = Theta::of(plm, spec.seeds.init, layout);
        Self {
            leaves: theta.leaves(),
            theta,
            head: "",
            untested: &[],
        }
    }

    /// Sets the head to the values of the checkpoint's classifier.
    fn with_head(mut self, golden: &str, name: &'static str, device: &Device) -> Self {
        let file = read(&fixture(&format!("{golden}/model.safetensors")));
        let file = SafeTensors::deserialize(&file).unwrap();
        let mut flat = values(self.theta.values());
        for weight in self.theta.weights().iter().filter(|w| w.is_head()) {
            let stored = f32s(&file, &weight.name.replace("head.", name));
            flat[weight.offset..weight.offset + weight.len()].copy_from_slice(&stored);
        }
        let size = flat.len();
        let data = TensorData::new(flat, [size]);
        self.theta
            .set_values(Tensor::from_data(data, (device, DType::F32)));
        self.leaves = self.theta.leaves();
        self.head = name;
        self
    }

    fn hooks(&self) -> DeltaHooks<'_> {
        self.theta.hooks(&self.leaves)
    }
}

fn ints(values: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let size = values.len();
    Tensor::from_data(TensorData::new(values, [size]), (device, DType::I32))
}

fn cross_entropy(logits: Tensor<2>, labels: &[i64], device: &Device) -> Tensor<1> {
    let labels = ints(labels.iter().map(|&l| l as i32).collect(), device);
    apet_kernels::cross_entropy(logits, labels).mean()
}

/// BertForSequenceClassification, with token types and its pooler.
fn bert(device: &Device, bounds: Bounds) {
    let golden = Golden::open("bert-tiny", device, bounds);
    let plm = &golden.plm;
    let rows = golden.rows("", "input_ids", "attention_mask");
    let types = golden.rows("", "token_type_ids", "attention_mask");
    let encoded: Vec<Encoded> = rows
        .into_iter()
        .zip(types)
        .map(|(ids, types)| Encoded { ids, types })
        .collect();
    let batch = plm.batch(&encoded.iter().collect::<Vec<_>>());
    for (n, state) in plm.hidden_states(&batch, &Frozen).into_iter().enumerate() {
        let stored = format!("hidden_states.{n}");
        golden.states(&stored, state, &stored, "attention_mask");
    }
    let everything = Everything::new(plm, Pooling::Pooler, 3);
    let everything = everything.with_head("bert-tiny", "classifier.", device);
    let hooks = everything.hooks();
    let states = plm.states(&batch, &hooks);
    let logits = hooks.head(plm.pool(&batch, states, Pooling::Pooler, &hooks));
    let stored = f32s(&golden.file(), "logits");
    golden.close("logits", &values(logits.clone().inner()), &stored);
    let loss = cross_entropy(logits, &golden.ints("labels"), device);
    golden.gradients("", &everything, loss);
}

/// MPNetForSequenceClassification. Its head has one more layer than the lab's; the test adds that layer
/// with the checkpoint's values, so that the gradients of the encoder can be compared.
fn mpnet(device: &Device, bounds: Bounds) {
    let golden = Golden::open("mpnet-tiny", device, bounds);
    let plm = &golden.plm;
    let rows = golden.rows("", "input_ids", "attention_mask");
    let encoded: Vec<Encoded> = rows.into_iter().map(plain).collect();
    let batch = plm.batch(&encoded.iter().collect::<Vec<_>>());
    for (n, state) in plm.hidden_states(&batch, &Frozen).into_iter().enumerate() {
        let stored = format!("hidden_states.{n}");
        golden.states(&stored, state, &stored, "attention_mask");
    }
    let mut everything = Everything::new(plm, Pooling::First, 3);
    everything.untested = &[
        "classifier.dense.weight",
        "classifier.dense.bias",
        "classifier.out_proj.weight",
        "classifier.out_proj.bias",
    ];
    let hooks = everything.hooks();
    let first = plm.pool(&batch, plm.states(&batch, &hooks), Pooling::First, &hooks);
    let file = read(&fixture("mpnet-tiny/model.safetensors"));
    let file = SafeTensors::deserialize(&file).unwrap();
    let layer = |x: Tensor<2>, name: &str| {
        let tensor = |part: &str| {
            let name = format!("classifier.{name}.{part}");
            let shape = file.tensor(&name).unwrap().shape().to_vec();
            TensorData::new(f32s(&file, &name), shape)
        };
        let weight = Tensor::<2>::from_data(tensor("weight"), (device, DType::F32));
        let bias = Tensor::<1>::from_data(tensor("bias"), (device, DType::F32));
        x.matmul(weight.transpose()) + bias.unsqueeze()
    };
    let logits = layer(layer(first, "dense").tanh(), "out_proj");
    let stored = f32s(&golden.file(), "logits");
    golden.close("logits", &values(logits.clone().inner()), &stored);
    let loss = cross_entropy(logits, &golden.ints("labels"), device);
    golden.gradients("", &everything, loss);
}

fn plain(ids: Vec<u32>) -> Encoded {
    Encoded {
        types: vec![0; ids.len()],
        ids,
    }
}

/// BloomForCausalLM or LlamaForCausalLM, padded on the left. The loss is that of transformers,
/// which treats a first token as the target of the padding before it.
fn decoder(name: &str, prefix: &str, device: &Device, bounds: Bounds) -> Golden {
    let golden = Golden::open(name, device, bounds);
    let plm = &golden.plm;
    let rows = golden.rows(prefix, "input_ids", "attention_mask");
    let encoded: Vec<Encoded> = rows.iter().cloned().map(plain).collect();
    let batch = plm.batch(&encoded.iter().collect::<Vec<_>>());
    let everything = Everything::new(plm, Pooling::Mean, 2);
    let hooks = everything.hooks();
    let logits = plm.logits(&batch, &hooks).unwrap();
    let stored = format!("{prefix}logits");
    let mask = format!("{prefix}attention_mask");
    golden.states(
        "logits",
        three(logits.clone().inner(), &batch),
        &stored,
        &mask,
    );

    let (length, labels) = (batch.length(), golden.ints(&format!("{prefix}labels")));
    let scored = |at: &usize| !at.is_multiple_of(length) && labels[*at] >= 0;
    let places: Vec<usize> = (0..labels.len()).filter(scored).collect();
    let before = places.iter().map(|at| (at - 1) as i32).collect();
    let targets: Vec<i64> = places.iter().map(|&at| labels[at]).collect();
    let chosen = logits.select(0, ints(before, device));
    let loss = cross_entropy(chosen, &targets, device);
    golden.gradients(prefix, &everything, loss);
    golden
}

fn three(x: Tensor<2>, batch: &Batch) -> Tensor<3> {
    let [_, width] = x.dims();
    x.reshape([batch.rows(), batch.length(), width])
}

fn bloom(device: &Device, bounds: Bounds) {
    let golden = decoder("bloom-tiny", "left.", device, bounds);
    let plm = &golden.plm;
    assert_eq!(plm.kind(), Kind::Decoder);
    let rows = golden.rows("left.", "input_ids", "attention_mask");
    let encoded: Vec<Encoded> = rows.iter().cloned().map(plain).collect();
    let batch = plm.batch(&encoded.iter().collect::<Vec<_>>());
    let states = plm.states(&batch, &Frozen);
    golden.states(
        "last state",
        states,
        "left.last_hidden_state",
        "left.attention_mask",
    );
    // Recomputes the figures' loss from sources and targets: a first token has no prediction.
    let prompted: Vec<Prompted> = rows
        .iter()
        .map(|row| Prompted {
            source: row[..1].to_vec(),
            target: row[1..].to_vec(),
        })
        .collect();
    let prompted: Vec<&Prompted> = prompted.iter().collect();
    let losses = plm.target_logits(&prompted, &Frozen).unwrap().losses();
    let stored = f32s(&golden.file(), "left.loss");
    golden.close("target loss", &values(losses.mean()), &stored);
    let likelihoods = block_on(plm.log_likelihoods(&prompted, &Frozen)).unwrap();
    let tokens: usize = prompted.iter().map(|p| p.target.len()).sum();
    let mean = -likelihoods.iter().sum::<f64>() / tokens as f64;
    golden.close("likelihoods", &[mean as f32], &stored);

    let new = golden.ints("gen.new_tokens");
    golden.generation(
        "input_ids",
        new.chunks_exact(12).map(<[i64]>::to_vec).collect(),
    );
}

fn llama(device: &Device, bounds: Bounds) {
    let golden = decoder("llama-tiny", "", device, bounds);
    let all = golden.ints("gen.sequences");
    let new = all.chunks_exact(24).map(|row| row[12..].to_vec());
    golden.generation("input_ids", new.collect());
}

/// GPTNeoXForCausalLM with the parallel residual, as in Pythia.
fn gpt_neox(device: &Device, bounds: Bounds) {
    gpt_neox_of("gptneox-tiny", device, bounds);
}

/// GPTNeoXForCausalLM in which the feed-forward layer follows attention.
fn gpt_neox_serial(device: &Device, bounds: Bounds) {
    gpt_neox_of("gptneox-serial-tiny", device, bounds);
}

fn gpt_neox_of(name: &str, device: &Device, bounds: Bounds) {
    let golden = decoder(name, "", device, bounds);
    let all = golden.ints("gen.sequences");
    let new = all.chunks_exact(24).map(|row| row[12..].to_vec());
    golden.generation("input_ids", new.collect());
}

/// Buffers of older versions of transformers, as in Pythia's checkpoints, are skipped.
#[test]
fn gpt_neox_loads_with_the_buffers_of_older_versions() {
    let bytes = read(&fixture("gptneox-tiny/model.safetensors"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, TensorView<'_>)> = file.tensors();
    let zeros = [0; 8];
    for (name, dtype, shape) in [
        ("bias", Stored::BOOL, vec![1, 1, 2, 4]),
        ("masked_bias", Stored::F32, vec![2]),
        ("rotary_emb.inv_freq", Stored::F32, vec![2]),
    ] {
        let name = format!("gpt_neox.layers.1.attention.{name}");
        tensors.push((name, TensorView::new(dtype, shape, &zeros).unwrap()));
    }
    let bytes = safetensors::serialize(tensors, None).unwrap();
    let weights = Safetensors::open("m", [("m".to_owned(), &bytes[..])]).unwrap();
    let config = String::from_utf8(read(&fixture("gptneox-tiny/config.json"))).unwrap();
    let files = PlmFiles {
        name: "m",
        config: &config,
        tokenizer: &read(&fixture("gptneox-tiny/tokenizer.json")),
        weights: &weights,
    };
    Plm::load(files, Dtype::F32, &Device::flex()).unwrap();
}

/// T5ForConditionalGeneration v1.1: gated GELU, a separate head.
fn t5(device: &Device, bounds: Bounds) {
    t5_of("t5-tiny", device, bounds);
}

/// T5 v1.0: ReLU, a tied head on scaled states.
fn t5_relu(device: &Device, bounds: Bounds) {
    t5_of("t5-relu-tiny", device, bounds);
}

fn t5_of(name: &str, device: &Device, bounds: Bounds) {
    let golden = Golden::open(name, device, bounds);
    let plm = &golden.plm;
    assert_eq!(plm.kind(), Kind::EncoderDecoder);
    let sources = golden.rows("", "input_ids", "attention_mask");
    let encoded: Vec<Encoded> = sources.iter().cloned().map(plain).collect();
    let batch = plm.batch(&encoded.iter().collect::<Vec<_>>());
    let states = plm.states(&batch, &Frozen);
    golden.states(
        "encoder",
        states,
        "encoder_last_hidden_state",
        "attention_mask",
    );

    let labels = golden.ints("labels");
    let length = golden.length("labels");
    let targets = labels.chunks_exact(length).map(|row| {
        let kept = row.iter().filter(|&&id| id >= 0);
        kept.map(|&id| id as u32).collect()
    });
    let prompted: Vec<Prompted> = sources
        .into_iter()
        .zip(targets)
        .map(|(source, target)| Prompted { source, target })
        .collect();
    let prompted: Vec<&Prompted> = prompted.iter().collect();
    let everything = Everything::new(plm, Pooling::Mean, 2);
    let scored = plm.target_logits(&prompted, &everything.hooks()).unwrap();
    let stored = f32s(&golden.file(), "logits");
    let kept: Vec<f32> = stored
        .chunks_exact(stored.len() / labels.len())
        .zip(&labels)
        .filter(|(_, label)| **label >= 0)
        .flat_map(|(row, _)| row.to_vec())
        .collect();
    golden.close("logits", &values(scored.logits.clone().inner()), &kept);
    golden.gradients("", &everything, scored.losses().mean());

    let new = golden.ints("gen.new_tokens");
    golden.generation(
        "input_ids",
        new.chunks_exact(12).map(<[i64]>::to_vec).collect(),
    );
}

/// One test for each family and device.
macro_rules! families {
    ($($test:ident: $family:ident($device:expr, $bounds:expr);)*) => {$(
        #[test]
        fn $test() {
            $family(&$device, $bounds);
        }
    )*};
}

families! {
    bert_equals_transformers_on_cpu: bert(Device::flex(), CPU);
    mpnet_equals_transformers_on_cpu: mpnet(Device::flex(), CPU);
    bloom_equals_transformers_on_cpu: bloom(Device::flex(), CPU);
    llama_equals_transformers_on_cpu: llama(Device::flex(), CPU);
    gpt_neox_equals_transformers_on_cpu: gpt_neox(Device::flex(), TIGHT);
    gpt_neox_serial_equals_transformers_on_cpu: gpt_neox_serial(Device::flex(), TIGHT);
    t5_equals_transformers_on_cpu: t5(Device::flex(), CPU);
    t5_relu_equals_transformers_on_cpu: t5_relu(Device::flex(), CPU);
    bert_equals_transformers_on_wgpu: bert(wgpu(), WGPU);
    mpnet_equals_transformers_on_wgpu: mpnet(wgpu(), WGPU);
    bloom_equals_transformers_on_wgpu: bloom(wgpu(), WGPU);
    llama_equals_transformers_on_wgpu: llama(wgpu(), WGPU);
    gpt_neox_equals_transformers_on_wgpu: gpt_neox(wgpu(), WGPU);
    t5_equals_transformers_on_wgpu: t5(wgpu(), WGPU);
}

/// This process's only wgpu device.
fn wgpu() -> Device {
    static DEVICE: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    let open = || {
        Device::wgpu_options()
            .init()
            .expect("no Vulkan adapter: install the Debian package mesa-vulkan-drivers")
    };
    DEVICE.get_or_init(open).clone()
}
