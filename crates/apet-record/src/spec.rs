//! RunSpec: everything that decides a run, and nothing else.

use serde::{Deserialize, Serialize};

use crate::{MAX_SEED, Method, Metric, Start, Words, content_id};

/// One run, as JSON. Every field except `model` and `task.name` has a default;
/// an unknown field is an error that names it. Equal specs have equal [`RunSpec::id`]s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Name of the pretrained language model, as in `apet fetch`: `"minilm-l6"`.
    pub model: String,
    /// The task, and the number of its rows to use.
    pub task: TaskSpec,
    /// The method: which deltas the run trains.
    #[serde(default)]
    pub method: Method,
    /// The training objective.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "class_head")))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub objective: Objective,
    /// How hidden states become class scores.
    #[serde(default)]
    pub head: Head,
    /// The number format of the frozen matrices. Arithmetic with them, theta, the
    /// optimizer and the loss are f32.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "f32")))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub dtype: Dtype,
    /// Steps, batches, evaluation.
    #[serde(default)]
    pub train: Train,
    /// The optimizer and its schedule.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Seeds of the random streams.
    #[serde(default)]
    pub seeds: Seeds,
    /// A theta from which the run is initialised; the method's initial values if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
}

/// Later fields are omitted at their defaults, so that old specs keep their ids.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The training objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The class, by a classification head on pooled states.
    #[default]
    ClassHead,
    /// The answer after `Input: ... Output:`, by the language model itself, without a head: for
    /// classes the label's word, and the most likely word is the prediction; otherwise a generated text.
    LabelWords,
}

impl Objective {
    /// The name in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClassHead => "class_head",
            Self::LabelWords => "label_words",
        }
    }
}

/// Number formats of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// IEEE 754 single precision.
    #[default]
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// A task by name, with this run's limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// `"rotten_tomatoes"`, `"sst2"`, `"sentences"`, or the name of a user's own task.
    pub name: String,
    /// Column of the (first) text; the task's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// Column of the second text of a sentence pair; the task's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pair_column: Option<String>,
    /// Column of the label; the task's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// The metric; the task's own if absent. With a metric of texts, the answers of a user's own task
    /// are generated, not chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// The verbalizer: a language model's words for the classes.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "labels")))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub words: Words,
    /// Class names of a user's own task, in the order of their numbers; the values found in train if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// A language model's word for each class, which overrides `words`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_words: Vec<String>,
    /// Prompt template with `{text}` and `{pair}`; the paper's prompt if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Number of training rows, drawn with `seeds.batches`; 0 uses all.
    #[serde(default)]
    pub train_rows: usize,
    /// Number of training rows of each class, drawn with `seeds.batches`, instead of `train_rows`; 0 sets no limit.
    #[cfg_attr(feature = "schema", schemars(extend("default" = 0)))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub shots: usize,
    /// Number of dev rows, the first ones; 0 uses all.
    #[serde(default)]
    pub dev_rows: usize,
    /// Number of test rows, the first ones; 0 uses all.
    #[serde(default)]
    pub test_rows: usize,
    /// Maximum length of a sequence in tokens, including special tokens.
    #[cfg_attr(feature = "schema", schemars(range(min = 3, max = MOST)))]
    #[serde(default = "max_length")]
    pub max_length: usize,
    /// Maximum length in tokens of an answer that is a text, in training and in generation; 0 is the task's own.
    #[cfg_attr(feature = "schema", schemars(extend("default" = 0)))]
    #[cfg_attr(feature = "schema", schemars(range(max = MOST)))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub target_length: usize,
}

fn max_length() -> usize {
    128
}

impl TaskSpec {
    /// Checks the fields that describe a user's own task.
    fn check_words(&self) -> Result<(), SpecError> {
        let refuse = |field: &str, problem: String| {
            Err(SpecError {
                field: format!("task.{field}"),
                problem,
            })
        };
        for (field, names) in [("labels", &self.labels), ("label_words", &self.label_words)] {
            let mut seen = std::collections::HashSet::new();
            if names.len() == 1 {
                return refuse(field, "found one label, expected at least two".into());
            }
            if let Some(name) = names.iter().find(|name| !seen.insert(name.trim())) {
                return refuse(
                    field,
                    format!("found {name:?} twice, expected different ones"),
                );
            }
            if seen.contains("") {
                return refuse(
                    field,
                    "found an empty name, expected a non-empty one".into(),
                );
            }
        }
        let (labels, words) = (self.labels.len(), self.label_words.len());
        if labels > 0 && words > 0 && labels != words {
            let problem = format!("found {words}, expected {labels}, one for each of task.labels");
            return refuse("label_words", problem);
        }
        if words > 0 && self.words != Words::default() {
            return refuse(
                "label_words",
                "found together with task.words, expected only one of them".into(),
            );
        }
        match &self.template {
            Some(template) if !template.contains("{text}") => {
                let problem = "found no {text}, expected it where the text belongs";
                refuse("template", problem.into())
            }
            _ => Ok(()),
        }
    }
}

/// The classification head: a linear layer on pooled hidden states, always trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How a sequence becomes one vector.
    #[serde(default)]
    pub pooling: Pooling,
}

/// How a sequence of hidden states becomes one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the tokens that are not padding.
    #[default]
    Mean,
    /// The first token's state.
    First,
    /// The model's own pooler over the first token (BertForSequenceClassification).
    Pooler,
}

impl Pooling {
    /// The name in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::First => "first",
            Self::Pooler => "pooler",
        }
    }
}

/// Steps, batches and evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// Optimizer steps.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub steps: usize,
    /// Rows in a batch.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MOST)))]
    pub batch_size: usize,
    /// Batches whose gradients are averaged into one step.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub accumulation: usize,
    /// Steps between evaluations on dev; the last step is always evaluated.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub eval_every: usize,
    /// Evaluations without a better dev score after which the run stops early; 0 never stops.
    pub patience: usize,
    /// Steps between checkpoints; 0 writes them at evaluations only.
    pub checkpoint_every: usize,
    /// Whether a batch has rows of similar length: less padding, but orders are no longer equally likely.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    #[serde(skip_serializing_if = "is_default")]
    pub group_by_length: bool,
    /// Whether blocks are recomputed in the backward pass instead of keeping their activations: less memory,
    /// more time, the same gradient.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    #[serde(skip_serializing_if = "is_default")]
    pub gradient_checkpointing: bool,
    /// Number of random directions along which the loss is measured at the end, in addition to theta's path; 0 measures nothing.
    #[cfg_attr(feature = "schema", schemars(extend("default" = 0)))]
    #[cfg_attr(feature = "schema", schemars(range(max = MOST)))]
    #[serde(skip_serializing_if = "is_default")]
    pub landscape: usize,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            steps: 500,
            batch_size: 16,
            accumulation: 1,
            eval_every: 100,
            patience: 0,
            checkpoint_every: 0,
            group_by_length: false,
            gradient_checkpointing: false,
            landscape: 0,
        }
    }
}

/// AdamW (Loshchilov and Hutter, 2019) with global-norm clipping; the paper's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Peak learning rate.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0)))]
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub epsilon: f64,
    /// Decoupled weight decay.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub weight_decay: f64,
    /// Maximum norm of theta's gradient; 0 does not clip.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0)))]
    pub clip_norm: f64,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Settings for some of theta's weights; the first matching group applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// Settings for some of theta's weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// A regular expression to search in the weight's name: `"^head\\."`, `"lora_B$"`.
    pub weights: String,
    /// Peak learning rate; it follows the same schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Decoupled weight decay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

impl Group {
    /// The pattern of the weights' names.
    ///
    /// # Errors
    /// If it is not a valid regular expression.
    pub fn pattern(&self) -> Result<regex_lite::Regex, String> {
        let no_pattern = |e| format!("found an invalid regular expression: {e}");
        regex_lite::Regex::new(&self.weights).map_err(no_pattern)
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
            schedule: Schedule::Linear,
            groups: Vec::new(),
        }
    }
}

impl Optimizer {
    /// The learning rate of `step` (from 0) out of `steps`.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Linear => {
                self.learning_rate * steps.saturating_sub(step) as f64 / steps.max(1) as f64
            }
        }
    }
}

/// The schedule of the learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Decreases linearly to 0 after the last step, without warm-up.
    Linear,
    /// Stays constant.
    Constant,
}

/// One seed for each purpose, at most 2^53 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Seeds {
    /// Seed of APET's placement.
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_SEED)))]
    pub placement: u64,
    /// Seed of the choice and order of training rows.
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_SEED)))]
    pub batches: u64,
    /// Seed of the initial values.
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_SEED)))]
    pub init: u64,
}

impl Seeds {
    /// The same seed for every purpose.
    pub fn all(seed: u64) -> Self {
        Self {
            placement: seed,
            batches: seed,
            init: seed,
        }
    }
}

/// Maximum number of rows in a batch, and of tokens in a row.
pub(crate) const MOST: usize = 1 << 20;

/// An invalid spec. The message is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecError {
    /// Path of the field: `method.count`.
    pub field: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl RunSpec {
    /// A spec with the defaults for a model and a task.
    pub fn new(model: impl Into<String>, task: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            task: TaskSpec {
                name: task.into(),
                text_column: None,
                text_pair_column: None,
                label_column: None,
                metric: None,
                words: Words::default(),
                labels: Vec::new(),
                label_words: Vec::new(),
                template: None,
                train_rows: 0,
                shots: 0,
                dev_rows: 0,
                test_rows: 0,
                max_length: max_length(),
                target_length: 0,
            },
            method: Method::default(),
            objective: Objective::default(),
            head: Head::default(),
            dtype: Dtype::default(),
            train: Train::default(),
            optimizer: Optimizer::default(),
            seeds: Seeds::default(),
            start: None,
        }
    }

    /// Reads a spec and checks it.
    ///
    /// # Errors
    /// Names the field, what was found and what was expected.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let spec: Self = serde_path_to_error::deserialize(&mut json).map_err(|e| SpecError {
            field: format!("spec.{}", e.path()),
            problem: e.inner().to_string(),
        })?;
        json.end().map_err(|e| SpecError {
            field: "spec".into(),
            problem: e.to_string(),
        })?;
        spec.check()?;
        Ok(spec)
    }

    /// The run id: equal for equal specs, on every platform.
    pub fn id(&self) -> String {
        // A RunSpec consists of strings, numbers and lists, which always serialise as JSON.
        content_id(self).unwrap_or_default()
    }

    /// Checks what can be checked without the model and the data.
    ///
    /// # Errors
    /// Names the first invalid field.
    pub fn check(&self) -> Result<(), SpecError> {
        let refuse = |field: &str, problem: String| {
            Err(SpecError {
                field: field.into(),
                problem,
            })
        };
        let at_least_1 = [
            ("train.steps", self.train.steps),
            ("train.batch_size", self.train.batch_size),
            ("train.accumulation", self.train.accumulation),
            ("train.eval_every", self.train.eval_every),
        ];
        for (field, value) in at_least_1 {
            if value == 0 {
                return refuse(field, "found 0, expected at least 1".into());
            }
        }
        // Far beyond any model: a larger number is a mistake, and would overflow counts.
        for (field, value) in [
            ("train.batch_size", self.train.batch_size),
            ("task.max_length", self.task.max_length),
            ("task.target_length", self.task.target_length),
            ("train.landscape", self.train.landscape),
        ] {
            if value > MOST {
                return refuse(field, format!("found {value}, expected at most {MOST}"));
            }
        }
        if self.task.max_length < 3 {
            let found = self.task.max_length;
            return refuse(
                "task.max_length",
                format!("found {found}, expected at least 3 ([CLS], one token, [SEP])"),
            );
        }
        if self.task.shots > 0 && self.task.train_rows > 0 {
            let (shots, rows) = (self.task.shots, self.task.train_rows);
            let problem =
                format!("found {shots} together with {rows} train_rows, expected only one of them");
            return refuse("task.shots", problem);
        }
        self.task.check_words()?;
        let o = &self.optimizer;
        let ranges = [
            ("learning_rate", o.learning_rate, 0.0, f64::MAX),
            ("beta1", o.beta1, 0.0, 1.0 - 1e-12),
            ("beta2", o.beta2, 0.0, 1.0 - 1e-12),
            ("epsilon", o.epsilon, 0.0, 1.0),
            ("weight_decay", o.weight_decay, 0.0, 1.0),
            ("clip_norm", o.clip_norm, 0.0, f64::MAX),
        ];
        for (field, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return refuse(
                    &format!("optimizer.{field}"),
                    format!("found {value}, expected a number from {low} to {high}"),
                );
            }
        }
        for (number, group) in o.groups.iter().enumerate() {
            let field = |name: &str| format!("optimizer.groups[{number}].{name}");
            if let Err(problem) = group.pattern() {
                return refuse(&field("weights"), problem);
            }
            let rate = group
                .learning_rate
                .filter(|r| !(0.0..=f64::MAX).contains(r));
            let decay = group.weight_decay.filter(|d| !(0.0..=1.0).contains(d));
            if let Some(found) = rate {
                let problem = format!("found {found}, expected a number from 0");
                return refuse(&field("learning_rate"), problem);
            }
            if let Some(found) = decay {
                let problem = format!("found {found}, expected a number from 0 to 1");
                return refuse(&field("weight_decay"), problem);
            }
            // A group's rate is a multiple of the others'.
            if group.learning_rate.is_some() && o.learning_rate == 0.0 {
                return refuse(
                    "optimizer.learning_rate",
                    "found 0 together with groups that set rates, expected more than 0".into(),
                );
            }
        }
        let seeds = [
            ("placement", self.seeds.placement),
            ("batches", self.seeds.batches),
            ("init", self.seeds.init),
        ];
        for (field, seed) in seeds {
            if seed > MAX_SEED {
                return refuse(
                    &format!("seeds.{field}"),
                    format!("found {seed}, expected at most 2^53 - 1 ({MAX_SEED})"),
                );
            }
        }
        if let Some(start) = &self.start
            && (start.theta.is_empty() || start.hash.len() < 8)
        {
            return refuse(
                "start",
                "found no name or fewer than 8 characters of a hash, expected those of a theta file"
                    .into(),
            );
        }
        if matches!(self.method, Method::Head(_)) && self.objective == Objective::LabelWords {
            return refuse(
                "method",
                "found \"head\", but label_words has no head; choose another method".into(),
            );
        }
        self.method.check("method")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        RunSpec::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn a_short_spec_takes_the_defaults() {
        let spec = RunSpec::from_json(r#"{"model":"minilm-l6","task":{"name":"sst2"}}"#).unwrap();
        assert_eq!(spec, RunSpec::new("minilm-l6", "sst2"));
        let again = RunSpec::from_json(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(spec, again);
    }

    /// Guarantees that a spec keeps its id.
    #[test]
    fn the_id_is_pinned() {
        assert_eq!(RunSpec::new("minilm-l6", "sst2").id(), "b69590d18286b867");
    }

    #[test]
    fn what_decides_the_run_decides_the_id() {
        let a = RunSpec::new("minilm-l6", "sst2");
        let mut b = a.clone();
        b.seeds.placement = 1;
        assert_ne!(a.id(), b.id());
    }

    #[test]
    fn wrong_fields_are_named() {
        let p = problem(r#"{"model":"m","task":{"name":"t"},"train":{"stepz":3}}"#);
        assert!(
            p.starts_with("spec.train.stepz: unknown field `stepz`"),
            "{p}"
        );
        let p = problem(r#"{"model":"m","task":{"name":"t"},"optimizer":{"learning_rate":"x"}}"#);
        assert!(
            p.starts_with("spec.optimizer.learning_rate: invalid type"),
            "{p}"
        );
        let p = problem(r#"{"model":"m","task":{"name":"t"},"method":{"name":"magic"}}"#);
        assert!(
            p.contains("unknown variant `magic`, expected one of `apet`"),
            "{p}"
        );
        let p = problem(r#"{"model":"m","task":{"name":"t"},"method":{"name":"apet","count":0}}"#);
        assert!(p.starts_with("method.count: found 0"), "{p}");
        let p = problem(r#"{"model":"m","task":{"name":"t"},"method":{"name":"bitfit","rank":1}}"#);
        assert!(p.contains("unknown field `rank`"), "{p}");
        let p = problem(r#"{"model":"m","task":{"name":"t"},"seeds":{"init":9007199254740992}}"#);
        assert!(p.starts_with("seeds.init: found 9007199254740992"), "{p}");
        let p = problem(r#"{"model":"m","task":{"name":"t"}} x"#);
        assert!(p.starts_with("spec: trailing characters"), "{p}");
    }

    #[test]
    fn words_of_ones_own_fit_together() {
        let mine = |fields: &str| {
            problem(&format!(
                r#"{{"model":"m","task":{{"name":"t",{fields}}}}}"#
            ))
        };
        for (fields, expected) in [
            (
                r#""labels":["a"]"#,
                "task.labels: found one label, expected at least two",
            ),
            (
                r#""labels":["a","a "]"#,
                "task.labels: found \"a \" twice, expected different ones",
            ),
            (
                r#""label_words":["a",""]"#,
                "task.label_words: found an empty name, expected a non-empty one",
            ),
            (
                r#""labels":["a","b"],"label_words":["a","b","c"]"#,
                "task.label_words: found 3, expected 2, one for each of task.labels",
            ),
            (
                r#""words":"numbers","label_words":["a","b"]"#,
                "task.label_words: found together with task.words, expected only one of them",
            ),
            (
                r#""template":"Is it? {pair}""#,
                "task.template: found no {text}, expected it where the text belongs",
            ),
        ] {
            let found = mine(fields);
            assert!(found.ends_with(expected), "{found}");
        }
    }

    #[test]
    fn rates_follow_the_schedule() {
        let mut o = Optimizer::default();
        assert_eq!(o.rate(0, 10), 1e-3);
        assert_eq!(o.rate(5, 10), 5e-4);
        assert_eq!(o.rate(10, 10), 0.0);
        o.schedule = Schedule::Constant;
        assert_eq!(o.rate(9, 10), 1e-3);
    }
}
