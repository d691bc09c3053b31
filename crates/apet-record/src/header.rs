//! A record's first line: what was run, on what, with what.

use serde::{Deserialize, Serialize};

use crate::{Metric, RunSpec, record::Extra, spec::is_default};

/// First line: what ran, where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Schema version, `major.minor`.
    pub record: String,
    /// Run id: the content hash of `spec`.
    pub run: String,
    /// What decided the run.
    pub spec: RunSpec,
    /// The model that was found under the spec's name.
    pub model: ModelInfo,
    /// What is tuned.
    pub theta: ThetaInfo,
    /// The data that was found under the spec's task.
    pub task: TaskInfo,
    /// Where it ran.
    pub device: DeviceInfo,
    /// With what.
    pub software: SoftwareInfo,
    /// Start, RFC 3339 in UTC, as the host's clock had it.
    #[serde(default)]
    pub started: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A pretrained language model as found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name as in the spec.
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

/// Counts of theta, the head apart.
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
    /// Hash of every position, so that two runs can be compared; empty where there are none.
    #[serde(default)]
    pub positions_hash: String,
    /// Why fewer are tuned than were asked for; empty where they are not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A task as found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Name as in the spec.
    pub name: String,
    /// Class names in label order; none where answers are texts.
    pub labels: Vec<String>,
    /// How answers are scored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metric: Metric,
    /// Rows used for training.
    pub train_rows: usize,
    /// Rows of dev, on which the best checkpoint is chosen.
    pub dev_rows: usize,
    /// Rows of test, scored once at the end.
    pub test_rows: usize,
    /// Accuracy of a uniform guess: 1 / classes; 0 where answers are texts.
    pub uniform_guess: f64,
    /// Accuracy of always answering dev's most frequent class, on dev.
    pub majority_guess: f64,
    /// How splits were made where the source has none; empty elsewhere.
    #[serde(default)]
    pub split_note: String,
    /// Hash of the rows, so that two runs can be compared.
    #[serde(default)]
    pub data_hash: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a run ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Device by name: `cpu`, `wgpu`, `vulkan:0`, `webgpu`, ...
    pub name: String,
    /// What the driver calls itself; the processor's threads for `cpu`.
    #[serde(default)]
    pub adapter: String,
    /// `native` or `browser`.
    pub host: String,
    /// Fields of later minor versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// With what a run ran.
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
