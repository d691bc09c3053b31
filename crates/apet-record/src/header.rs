//! A record's header: spec, model, theta, task, device and software of a run.

use serde::{Deserialize, Serialize};

use crate::{Metric, RunSpec, record::Extra, spec::is_default};

/// The first line of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Schema version, `major.minor`.
    pub record: String,
    /// Run id: the content hash of `spec`.
    pub run: String,
    /// The spec, which determines the run.
    pub spec: RunSpec,
    /// The model found under the spec's name.
    pub model: ModelInfo,
    /// Counts of theta.
    pub theta: ThetaInfo,
    /// The data found under the spec's task.
    pub task: TaskInfo,
    /// The device.
    pub device: DeviceInfo,
    /// The software.
    pub software: SoftwareInfo,
    /// Start time by the host's clock, RFC 3339 in UTC.
    #[serde(default)]
    pub started: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A pretrained language model as found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name in the spec.
    pub name: String,
    /// Model family: `"bert"`.
    pub family: String,
    /// Blocks.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Parameters in all.
    pub parameters: u64,
    /// Parameters without the embedding tables.
    pub parameters_without_embeddings: u64,
    /// BLAKE3 of the weights file, hexadecimal.
    pub weights_hash: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Counts of theta, without the head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThetaInfo {
    /// Method name.
    pub method: String,
    /// Parameters that the spec requests (APET), or that the method's closed form gives.
    #[serde(alias = "nominal")]
    pub requested_parameters: u64,
    /// Parameters that are trained, without the head.
    #[serde(alias = "realised")]
    pub trainable_parameters: u64,
    /// Parameters of the head.
    pub head: u64,
    /// L: how many tunable weights W_i theta consists of, the head not counted.
    pub weights: usize,
    /// Parameters in the pool that they were drawn from (APET); 0 for other methods.
    #[serde(default, alias = "pool")]
    pub candidate_parameters: u64,
    /// Hash of all positions, to compare two runs; empty without positions.
    #[serde(default)]
    pub positions_hash: String,
    /// Why there are fewer trainable parameters than requested; empty if there are not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A task as found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Name in the spec.
    pub name: String,
    /// Class names in label order; empty if answers are texts.
    pub labels: Vec<String>,
    /// The metric that scores answers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metric: Metric,
    /// Rows used for training.
    pub train_rows: usize,
    /// Rows of dev, on which the best step is chosen.
    pub dev_rows: usize,
    /// Rows of test, scored once at the end.
    pub test_rows: usize,
    /// Accuracy of a uniform guess: 1 / classes; 0 if answers are texts.
    pub uniform_guess: f64,
    /// Accuracy of always answering dev's most frequent class, on dev.
    pub majority_guess: f64,
    /// How missing splits were drawn; empty if the source has all.
    #[serde(default)]
    pub split_note: String,
    /// Hash of the rows, to compare two runs.
    #[serde(default)]
    pub data_hash: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The device of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Device by name: `cpu`, `wgpu`, `vulkan:0`, `webgpu`, ...
    pub name: String,
    /// The driver's name; the number of processor threads for `cpu`.
    #[serde(default)]
    pub adapter: String,
    /// `native` or `browser`.
    pub host: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The software of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SoftwareInfo {
    /// Version of APET Lab.
    pub apet: String,
    /// Version of burn.
    pub burn: String,
    /// Target triple or `wasm32`.
    pub target: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}
