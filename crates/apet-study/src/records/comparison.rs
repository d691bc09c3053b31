//! Results of peft's method comparison as records, so that they can be compared with our runs.
//!
//! Source: `method_comparison/MetaMathQA/utils.py` in huggingface/peft, which writes one JSON object a run:
//! `run_info` (settings), `train_info` (counts and metrics) and `meta_info` (versions).

use apet_record::{
    DeviceInfo, Dtype, Eval, Foreign, Header, Line, Method, ModelInfo, Note, Objective,
    RECORD_VERSION, RunRecord, RunSpec, Seeds, SoftwareInfo, Status, Summary, TaskInfo, ThetaInfo,
};
use serde::Deserialize;
use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// Parameters of models whose own count is known. The files count what a method adds to a model, too, and that can be more
/// than it trains: LoRA-FA freezes half of it.
const PARAMETERS: [(&str, u64); 1] = [("meta-llama/Llama-3.2-3B", 3_212_749_824)];

/// Why a result cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("result of peft's method comparison: {field}: {problem}")]
pub struct ComparisonError {
    /// Path of the field.
    pub field: String,
    /// What was found, what was expected.
    pub problem: String,
}

#[derive(Deserialize)]
struct Comparison {
    run_info: RunInfo,
    train_info: TrainInfo,
    meta_info: MetaInfo,
}

#[derive(Deserialize)]
struct RunInfo {
    created_at: String,
    total_time: f64,
    experiment_name: String,
    /// None where the whole model is tuned.
    peft_config: Option<Fields>,
    train_config: Fields,
    #[serde(default)]
    error_msg: String,
}

#[derive(Deserialize)]
struct TrainInfo {
    status: String,
    metrics: Vec<Fields>,
    num_trainable_params: u64,
    num_total_params: u64,
    accelerator_memory_max: Option<u64>,
}

#[derive(Deserialize)]
struct MetaInfo {
    #[serde(default)]
    model_info: Option<Fields>,
    #[serde(default)]
    dataset_info: Fields,
    #[serde(default)]
    package_info: Fields,
    #[serde(default)]
    system_info: Fields,
}

/// The record of a result; none where the text is something else.
///
/// # Errors
/// Names the field that cannot be read, what was found and what was expected.
pub(crate) fn read(text: &str) -> Option<Result<RunRecord, ComparisonError>> {
    let begins = text.trim_start().starts_with('{');
    if !begins
        || !["\"run_info\"", "\"train_info\""]
            .iter()
            .all(|field| text.contains(field))
    {
        return None;
    }
    // A record is lines of JSON, and each has a kind.
    let first: Option<Value> = text
        .lines()
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    if first.is_some_and(|line| line.get("kind").is_some()) {
        return None;
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let read: Result<Comparison, _> = serde_path_to_error::deserialize(&mut json);
    let read = read.map_err(|e| ComparisonError {
        field: e.path().to_string(),
        problem: e.inner().to_string(),
    });
    Some(read.and_then(Comparison::record))
}

impl Comparison {
    fn record(self) -> Result<RunRecord, ComparisonError> {
        let evals = self.evals()?;
        let spec = self.spec()?;
        let model = self.model(&spec);
        let theta = ThetaInfo {
            method: spec.method.label(),
            requested_parameters: self.train_info.num_trainable_params,
            trainable_parameters: self.train_info.num_trainable_params,
            ..ThetaInfo::default()
        };
        let task = TaskInfo {
            name: spec.task.name.clone(),
            ..TaskInfo::default()
        };
        let text_of = |name: &str| {
            self.meta_info
                .system_info
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let device = DeviceInfo {
            name: "accelerator".into(),
            adapter: text_of("accelerator").into(),
            host: "native".into(),
            ..DeviceInfo::default()
        };
        let software = SoftwareInfo {
            target: text_of("machine").into(),
            extra: without_null(&self.meta_info.package_info),
            ..SoftwareInfo::default()
        };
        let header = Header {
            record: RECORD_VERSION.into(),
            run: spec.id(),
            model,
            theta,
            task,
            device,
            software,
            started: self.run_info.created_at.clone(),
            extra: Fields::new(),
            spec,
        };
        let summary = self.summary(&evals);
        let mut lines = vec![Line::Note(Note {
            step: 0,
            text: "Read from a result of peft's method comparison: its test score is that of the last step, its schedule and \
                   whatever else this spec has no field for are in method.settings, and its losses on dev are not known."
                .into(),
            extra: Fields::new(),
        })];
        lines.extend(evals.into_iter().map(Line::Eval));
        lines.push(Line::Summary(summary));
        Ok(RunRecord {
            header,
            lines,
            truncated: false,
        })
    }

    fn evals(&self) -> Result<Vec<Eval>, ComparisonError> {
        let mut evals = Vec::new();
        for (number, metrics) in self.train_info.metrics.iter().enumerate() {
            let wrong = |problem: String| ComparisonError {
                field: format!("train_info.metrics[{number}]"),
                problem,
            };
            let step = metrics.get("step").and_then(Value::as_u64);
            let step = step
                .ok_or_else(|| wrong("found no field \"step\", expected the steps done".into()))?;
            for (name, value) in metrics {
                let (split, metric) = match name.split_once(' ') {
                    Some(("valid", metric)) => ("dev", metric),
                    Some(("test", metric)) => ("test", metric),
                    _ => continue,
                };
                let score = value.as_f64().filter(|score| (0.0..=1.0).contains(score));
                let score = match score {
                    Some(score) if metric == "accuracy" => score,
                    _ => {
                        return Err(wrong(format!(
                            "found {name:?} of {value}, expected an accuracy from 0 to 1 of a language model"
                        )));
                    }
                };
                evals.push(Eval {
                    step: step as usize,
                    split: split.into(),
                    metric: metric.into(),
                    score,
                    loss: None,
                    rows: 0,
                    extra: Fields::new(),
                });
            }
        }
        Ok(evals)
    }

    fn spec(&self) -> Result<RunSpec, ComparisonError> {
        let config = &self.run_info.train_config;
        let wrong = |field: &str, problem: &str| ComparisonError {
            field: format!("run_info.train_config.{field}"),
            problem: problem.into(),
        };
        let whole = |field: &str| {
            let number = config.get(field).and_then(Value::as_u64);
            number.ok_or_else(|| wrong(field, "expected a whole number"))
        };
        let model = config.get("model_id").and_then(Value::as_str);
        let model = model.ok_or_else(|| wrong("model_id", "expected the model's name"))?;
        let datasets: Vec<&str> = self
            .meta_info
            .dataset_info
            .keys()
            .map(String::as_str)
            .collect();
        let mut spec = RunSpec::new(model, datasets.join("+"));
        spec.task.max_length = whole("max_seq_length")? as usize;
        spec.method = self.method();
        spec.objective = Objective::LabelWords;
        spec.dtype = match config.get("dtype").and_then(Value::as_str) {
            Some("bfloat16") => Dtype::Bf16,
            Some("float16") => Dtype::F16,
            _ => Dtype::F32,
        };
        spec.train.steps = whole("max_steps")? as usize;
        spec.train.batch_size = whole("batch_size")? as usize;
        spec.train.eval_every = whole("eval_steps")? as usize;
        spec.seeds = Seeds::all(whole("seed")?);
        let optimizer = config.get("optimizer_kwargs").and_then(Value::as_object);
        let real = |name: &str| {
            optimizer
                .and_then(|given| given.get(name))
                .and_then(Value::as_f64)
        };
        let rate =
            real("lr").ok_or_else(|| wrong("optimizer_kwargs.lr", "expected the learning rate"))?;
        spec.optimizer.learning_rate = rate;
        spec.optimizer.weight_decay = real("weight_decay").unwrap_or_default();
        spec.optimizer.clip_norm = config
            .get("grad_norm_clip")
            .and_then(Value::as_f64)
            .unwrap_or_default();
        Ok(spec)
    }

    fn method(&self) -> Method {
        let peft = self.run_info.peft_config.as_ref();
        let kind = peft
            .and_then(|config| config.get("peft_type"))
            .and_then(Value::as_str);
        let name = match kind {
            None => "full".into(),
            Some("PROMPT_TUNING") => "prompt".into(),
            Some("LN_TUNING") => "layer_norm".into(),
            Some(other) => other.to_lowercase(),
        };
        let mut settings = without_null(peft.unwrap_or(&Fields::new()));
        // What AdaLoRA's training found, megabytes of it; no setting.
        settings.remove("rank_pattern");
        settings.insert(
            "train_config".into(),
            without_null(&self.run_info.train_config).into(),
        );
        Method::Foreign(Foreign {
            program: "peft".into(),
            method: name,
            experiment: self.run_info.experiment_name.clone(),
            settings,
        })
    }

    fn model(&self, spec: &RunSpec) -> ModelInfo {
        let counts = &self.train_info;
        let known = PARAMETERS.iter().find(|(name, _)| *name == spec.model);
        let parameters = match known {
            Some((_, parameters)) => *parameters,
            None if self.run_info.peft_config.is_none() => counts.num_total_params,
            None => counts
                .num_total_params
                .saturating_sub(counts.num_trainable_params),
        };
        let info = self.meta_info.model_info.as_ref();
        let hash = info
            .and_then(|info| info.get("sha"))
            .and_then(Value::as_str);
        ModelInfo {
            name: spec.model.clone(),
            parameters,
            weights_hash: hash.unwrap_or_default().into(),
            ..ModelInfo::default()
        }
    }

    fn summary(&self, evals: &[Eval]) -> Summary {
        let of = |split: &'static str| evals.iter().filter(move |eval| eval.split == split);
        let best = of("dev").reduce(|best, next| if next.score > best.score { next } else { best });
        Summary {
            status: match &*self.train_info.status {
                "success" => Status::Done,
                _ => Status::Stopped,
            },
            steps: evals.last().map_or(0, |eval| eval.step),
            best_step: best.map_or(0, |eval| eval.step),
            dev: best.map(|eval| eval.score),
            test: of("test").next_back().map(|eval| eval.score),
            seconds: self.run_info.total_time,
            peak_bytes: self.train_info.accelerator_memory_max,
            message: self.run_info.error_msg.clone(),
            extra: Fields::new(),
        }
    }
}

fn without_null(fields: &Fields) -> Fields {
    let known = fields.iter().filter(|(_, value)| !value.is_null());
    known
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, Study};

    const LORA: &str =
        include_str!("../../../../tests/fixtures/method_comparison/lora--llama-3.2-3B-rank32.json");
    const LORA_FA: &str = include_str!(
        "../../../../tests/fixtures/method_comparison/lora--llama-3.2-3B-rank32-lorafa.json"
    );
    const FULL: &str = include_str!(
        "../../../../tests/fixtures/method_comparison/full-finetuning--llama-3.2-3B-lr_0.00001.json"
    );
    const PROMPT: &str = include_str!(
        "../../../../tests/fixtures/method_comparison/prompt_tuning--llama-3.2-3B-default.json"
    );
    const IMAGES: &str =
        include_str!("../../../../tests/fixtures/method_comparison/image-gen.json");

    #[test]
    fn pefts_results_stand_in_the_table_and_the_figure() {
        let mut study = Study::new();
        for text in [LORA, LORA_FA, FULL, PROMPT] {
            assert_eq!(study.add("peft", text).unwrap().added, 1);
        }
        assert_eq!(study.add("peft", LORA).unwrap().unchanged, 1);
        let rows = study.rows();
        let mut of: Vec<_> = rows
            .iter()
            .map(|row| (row.count, row.method.as_str(), row.status))
            .collect();
        of.sort_unstable_by_key(|row| row.0);
        assert_eq!(
            of,
            [
                (614_400, "prompt", Status::Done),
                (3_670_016, "lora", Status::Done),
                (9_175_040, "lora", Status::Done),
                (3_212_749_824, "full", Status::Done),
            ]
        );
        // What the files say: jq '.train_info.metrics[-1]["test accuracy"]'.
        let lora = rows.iter().find(|row| row.count == 9_175_040).unwrap();
        assert_eq!(lora.test, Some(0.4783927217589083));
        assert_eq!(
            (lora.steps, lora.planned, lora.seeds.as_str()),
            (5000, 5000, "0")
        );
        assert!(
            rows.iter()
                .all(|row| !row.edited && row.parameters == 3_212_749_824)
        );
        let figure = study.score_against_count(&Filter::default());
        assert_eq!(
            (figure.groups.len(), figure.full.len(), figure.left_out),
            (4, 1, 0)
        );
    }

    #[test]
    fn a_result_reads_back_equal_as_a_record() {
        let record = read(LORA).unwrap().unwrap();
        assert_eq!(
            RunRecord::parse(&record.to_jsonl()).unwrap(),
            std::slice::from_ref(&record)
        );
        let Method::Foreign(Foreign { settings, .. }) = &record.header.spec.method else {
            panic!("{:?}", record.header.spec.method)
        };
        assert_eq!(settings["r"], 32);
        assert_eq!(settings["train_config"]["lr_scheduler"], "cosine");
        assert_eq!(record.header.software.extra["peft-version"], "0.19.2.dev0");
    }

    #[test]
    fn what_is_no_result_of_a_language_model_is_refused_in_one_sentence() {
        let problem = |text: &str| Study::new().add("x", text).unwrap_err().to_string();
        let images = problem(IMAGES);
        assert!(
            images.starts_with("result of peft's method comparison: train_info.metrics[0]: found \"valid dino_similarity\""),
            "{images}"
        );
        let cut = problem(&LORA[..LORA.len() / 2]);
        assert!(
            cut.starts_with("result of peft's method comparison: "),
            "{cut}"
        );
        let wrong = problem(&LORA.replacen("\"max_steps\": 5000", "\"max_steps\": \"many\"", 1));
        assert_eq!(
            wrong,
            "result of peft's method comparison: run_info.train_config.max_steps: expected a whole number"
        );
        let none = problem(&LORA.replacen("\"max_steps\": 5000", "\"max_steps\": 0", 1));
        assert_eq!(
            none,
            "record 1: spec.train.steps: found 0, expected at least 1"
        );
    }
}
