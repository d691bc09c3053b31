//! Options that decide how a run goes, shared by the commands that make, plan or measure runs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use apet_record::{
    Budget, Layers, Method, Module, Objective, Part, Pool, Pooling, RunSpec, Schedule, Seeds,
    Select,
};
use clap::builder::{PossibleValue, PossibleValuesParser};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::device::Precision;

/// Settings of a run. An option that is not given keeps the spec's default.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Truncate sequences to N tokens
    #[arg(long, visible_alias = "seq", value_name = "N")]
    max_length: Option<usize>,
    /// Limit an answer that is a text to N tokens
    #[arg(long, value_name = "N")]
    target_length: Option<usize>,
    /// Score the first N rows of dev; 0 scores all
    #[arg(long, value_name = "N")]
    dev_rows: Option<usize>,
    /// Score the first N rows of test; 0 scores all
    #[arg(long, value_name = "N")]
    test_rows: Option<usize>,
    /// Tune by this method
    #[arg(long, value_parser = method_names())]
    method: Option<String>,
    /// Train this many parameters (apet): 10000, 0.01%, or as many as a method: "as lora", bitfit, adapter, prompt
    #[arg(long, value_name = "N|X%|as METHOD")]
    count: Option<String>,
    /// Choose them by this selector (apet): element, rows, columns, diagonal, magnitude, gradient, snip,
    /// unit, lora_scalar, or JSON with its options
    #[arg(long, value_name = "NAME|JSON")]
    select: Option<String>,
    /// Take them from a mask file (apet): safetensors with a mask or positions for each tensor
    #[arg(long, value_name = "FILE", conflicts_with = "select")]
    mask: Option<PathBuf>,
    /// Choose them from these modules (apet, full): attention,ffn,norm,bias,embedding, or all
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    modules: Vec<String>,
    /// Choose them from these parts of the blocks (apet, full), such as query,value
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    parts: Vec<String>,
    /// Choose them from tensors whose names match a regular expression (apet, full)
    #[arg(long, value_name = "REGEX")]
    sites: Option<String>,
    /// Choose them from these blocks (apet, full), from 0: 4..5 is the fifth and the sixth
    #[arg(long, value_name = "FIRST..LAST")]
    layers: Option<String>,
    /// Set the rank of the deltas (lora)
    #[arg(long, value_name = "N")]
    rank: Option<usize>,
    /// Set their scale times the rank (lora)
    #[arg(long, value_name = "X")]
    alpha: Option<f64>,
    /// Attach them to these linear layers (lora), such as query,value
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    targets: Vec<String>,
    /// Use N virtual tokens (prompt)
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Set the width of the bottlenecks (adapter)
    #[arg(long, value_name = "N")]
    bottleneck: Option<usize>,
    /// Learn the class by a head, or the label's word or a text by the language model
    #[arg(long, value_name = "class_head|label_words")]
    objective: Option<String>,
    /// Keep the frozen matrices in this type
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Pool a sequence to one vector by this rule
    #[arg(long, value_name = "mean|first|pooler")]
    pooling: Option<String>,
    /// Set the seed of placement, batches and initial values
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Set the seed of the placement only
    #[arg(long, value_name = "N")]
    placement_seed: Option<u64>,
    /// Train for N optimizer steps
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Use N rows a batch
    #[arg(long, visible_alias = "batch", value_name = "N")]
    batch_size: Option<usize>,
    /// Accumulate N batches a step
    #[arg(long, value_name = "N")]
    accumulation: Option<usize>,
    /// Batch rows of similar length: less padding
    #[arg(long)]
    group_by_length: bool,
    /// Recompute blocks in the backward pass: less memory, more time
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Measure the loss around the final theta, along its path and N random directions
    #[arg(long, value_name = "N")]
    landscape: Option<usize>,
    /// Evaluate on dev every N steps
    #[arg(long, value_name = "N")]
    eval_every: Option<usize>,
    /// Stop after N evaluations without a better score; 0 never stops
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Write a checkpoint every N steps; 0 writes them at evaluations only
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<usize>,
    /// Set the learning rate [default: the method's: 1e-3; prompt and ia3 1e-2, full 5e-5]
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Set the schedule of the learning rate
    #[arg(long, value_name = "linear|constant")]
    schedule: Option<String>,
}

/// The names of all methods, each with its description.
fn method_names() -> PossibleValuesParser {
    let names = Method::INFO.iter();
    let names = names.map(|info| PossibleValue::new(info.name).help(info.description));
    PossibleValuesParser::new(names)
}

impl Settings {
    /// The mask file that was given.
    pub(crate) fn mask(&self) -> Option<&PathBuf> {
        self.mask.as_ref()
    }

    /// Changes what the options say, and checks the spec.
    ///
    /// # Errors
    /// Names the option, what was found and what was expected.
    pub(crate) fn change(&self, spec: &mut RunSpec) -> Result<()> {
        let set = |place: &mut usize, value: Option<usize>| *place = value.unwrap_or(*place);
        set(&mut spec.task.max_length, self.max_length);
        set(&mut spec.task.target_length, self.target_length);
        set(&mut spec.task.dev_rows, self.dev_rows);
        set(&mut spec.task.test_rows, self.test_rows);
        set(&mut spec.train.steps, self.steps);
        set(&mut spec.train.batch_size, self.batch_size);
        set(&mut spec.train.accumulation, self.accumulation);
        set(&mut spec.train.eval_every, self.eval_every);
        set(&mut spec.train.patience, self.patience);
        set(&mut spec.train.checkpoint_every, self.checkpoint_every);
        set(&mut spec.train.landscape, self.landscape);
        spec.train.group_by_length |= self.group_by_length;
        spec.train.gradient_checkpointing |= self.gradient_checkpointing;
        if let Some(schedule) = &self.schedule {
            spec.optimizer.schedule = word::<Schedule>("--schedule", schedule)?;
        }
        if let Some(objective) = &self.objective {
            spec.objective = word::<Objective>("--objective", objective)?;
        }
        if let Some(dtype) = self.dtype {
            spec.dtype = dtype.dtype();
        }
        if let Some(pooling) = &self.pooling {
            spec.head.pooling = word::<Pooling>("--pooling", pooling)?;
        }
        if let Some(seed) = self.seed {
            let placement = match spec.start {
                Some(_) => spec.seeds.placement, // what it begins with lies where it lies
                None => seed,
            };
            spec.seeds = Seeds {
                placement,
                ..Seeds::all(seed)
            };
        }
        if let Some(seed) = self.placement_seed {
            spec.seeds.placement = seed;
        }
        let rate_of = |method: &Method| method.info().map(|info| info.learning_rate);
        let before = rate_of(&spec.method);
        self.change_method(&mut spec.method)?;
        let rate = &mut spec.optimizer.learning_rate;
        if let Some(given) = self.learning_rate {
            *rate = given;
        } else if before == Some(*rate) {
            // The default of the former method becomes the default of the new one.
            *rate = rate_of(&spec.method).unwrap_or(*rate);
        }
        spec.check()?;
        Ok(())
    }

    fn change_method(&self, method: &mut Method) -> Result<()> {
        if let Some(name) = &self.method {
            *method = Method::by_name(name).with_context(|| format!("--method: no {name:?}"))?;
        }
        // A field that is set must be one of the method's.
        let only = |option: &str, given: bool, field: &str| -> Result<()> {
            let fits = method.info().is_some_and(|info| info.has(field));
            let with = Method::INFO.iter().filter(|info| info.has(field));
            let names: Vec<&str> = with.map(|info| info.name).collect();
            let names = names.join(" or ");
            ensure!(!given || fits, "{option} belongs to --method {names}");
            Ok(())
        };
        only("--count", self.count.is_some(), "count")?;
        only("--select", self.select.is_some(), "select")?;
        only("--mask", self.mask.is_some(), "select")?;
        only("--tokens", self.tokens.is_some(), "tokens")?;
        only("--bottleneck", self.bottleneck.is_some(), "bottleneck")?;
        only("--modules", !self.modules.is_empty(), "pool")?;
        only("--parts", !self.parts.is_empty(), "pool")?;
        only("--sites", self.sites.is_some(), "pool")?;
        only("--layers", self.layers.is_some(), "pool")?;
        only("--rank", self.rank.is_some(), "rank")?;
        only("--alpha", self.alpha.is_some(), "alpha")?;
        only("--targets", !self.targets.is_empty(), "targets")?;
        let fields = [
            ("tokens", self.tokens.map(Value::from)),
            ("bottleneck", self.bottleneck.map(Value::from)),
            ("rank", self.rank.map(Value::from)),
            ("alpha", self.alpha.map(Value::from)),
            (
                "targets",
                (!self.targets.is_empty()).then(|| self.targets.clone().into()),
            ),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                method.set(field, value)?;
            }
        }
        if self.has_pool() {
            let pool = method.get("pool");
            let pool = pool.map(serde_json::from_value).transpose()?;
            let mut pool = pool.unwrap_or_default();
            self.change_pool(&mut pool)?;
            method.set("pool", serde_json::to_value(pool)?)?;
        }
        if let Some(apet) = method.apet_mut() {
            if let Some(text) = &self.count {
                let budget = text.parse::<Budget>();
                apet.count = budget.map_err(|problem| anyhow::anyhow!("--count: {problem}"))?;
            }
            if let Some(text) = &self.select {
                apet.select = select_of(text)?;
            }
            if let Some(path) = &self.mask {
                apet.select = mask_of(path)?;
            }
        }
        Ok(())
    }

    fn has_pool(&self) -> bool {
        let lists = [self.modules.is_empty(), self.parts.is_empty()];
        lists.contains(&false) || self.sites.is_some() || self.layers.is_some()
    }

    fn change_pool(&self, pool: &mut Pool) -> Result<()> {
        if self.modules == ["all"] {
            pool.modules = vec![
                Module::Attention,
                Module::Ffn,
                Module::Norm,
                Module::Bias,
                Module::Embedding,
            ];
        } else if !self.modules.is_empty() {
            let modules = self.modules.iter().map(|m| word::<Module>("--modules", m));
            pool.modules = modules.collect::<Result<_>>()?;
        }
        if !self.parts.is_empty() {
            let parts = self.parts.iter().map(|p| word::<Part>("--parts", p));
            pool.parts = Some(parts.collect::<Result<_>>()?);
        }
        if self.sites.is_some() {
            pool.sites.clone_from(&self.sites);
        }
        if let Some(layers) = &self.layers {
            let ends = layers
                .split_once("..")
                .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            let (first, last) = ends.with_context(|| {
                format!("--layers: found {layers:?}, expected FIRST..LAST such as 0..2")
            })?;
            pool.layers = Some(Layers { first, last });
        }
        Ok(())
    }
}

/// A selector by its name, or as it stands in a spec.
fn select_of(text: &str) -> Result<Select> {
    let json = match text.starts_with('{') {
        true => serde_json::from_str(text),
        false => Ok(serde_json::json!({ "by": text })),
    };
    let select = json.and_then(serde_json::from_value);
    select.with_context(|| format!("--select {text}"))
}

/// The selection by a mask file.
fn mask_of(path: &std::path::Path) -> Result<Select> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let name = path.file_stem().and_then(|stem| stem.to_str());
    let mask = name.with_context(|| format!("{}: has no name", path.display()))?;
    apet_store::check_name(mask)?;
    Ok(Select::Mask {
        mask: mask.into(),
        hash: blake3::hash(&bytes).to_hex()[..16].to_string(),
    })
}

/// A word of the spec, as it stands in JSON.
///
/// # Errors
/// Names the option, and what was expected.
pub(crate) fn word<T: DeserializeOwned>(option: &str, text: &str) -> Result<T> {
    serde_json::from_value(text.into()).with_context(|| option.to_owned())
}
