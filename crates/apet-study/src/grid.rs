//! A study's grid: models x tasks x methods x counts x seeds, as TOML, and the runs it stands for.

use apet_record::{Budget, Head, Method, Objective, RunSpec, Seeds, SpecError, TaskSpec, Train};
use serde::Deserialize;
use toml::{Table, Value};

/// The study that ends in minutes, on the models and the task that come with the lab.
pub const DEMO: &str = include_str!("../../../studies/demo.toml");

/// More runs than this are a slip in the file.
const MOST_RUNS: usize = 1_000_000;

/// A grid of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// What the study is called.
    pub name: String,
    /// What it is for, in a sentence or two.
    pub about: String,
    /// Models by name, from the smallest to the largest.
    pub models: Vec<String>,
    /// Tasks.
    pub tasks: Vec<TaskSpec>,
    /// What is tuned.
    pub methods: Vec<Entry>,
    /// Seeds of placement, batches and initial values, the same for all three.
    pub seeds: Vec<u64>,
    /// How long and in which batches; the same for all runs.
    pub train: Train,
    /// What the runs learn.
    pub objective: Objective,
    /// How a sequence becomes one vector.
    pub head: Head,
}

/// A method of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The method; of APET the first count.
    pub method: Method,
    /// APET's counts; none for other methods.
    pub counts: Vec<Budget>,
    /// Its learning rate.
    pub learning_rate: f64,
    /// The models it is for; all where empty.
    pub models: Vec<String>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    about: String,
    models: Vec<String>,
    seeds: Vec<u64>,
    #[serde(default)]
    train: Train,
    #[serde(default)]
    objective: Objective,
    #[serde(default)]
    head: Head,
    task: Vec<TaskSpec>,
    method: Vec<Table>,
}

impl Grid {
    /// Reads a grid.
    ///
    /// # Errors
    /// Names the field, what was found and what was expected; or the first run that can not be.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let file: File = toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
            refused(&format!("line {line}"), &e.message())
        })?;
        let methods = file.method.into_iter().enumerate();
        let methods = methods.map(|(at, table)| Entry::read(&format!("method[{at}]"), table));
        let grid = Self {
            name: file.name,
            about: file.about,
            models: file.models,
            tasks: file.task,
            methods: methods.collect::<Result<_, _>>()?,
            seeds: file.seeds,
            train: file.train,
            objective: file.objective,
            head: file.head,
        };
        grid.check()?;
        Ok(grid)
    }

    fn check(&self) -> Result<(), SpecError> {
        let empty = [
            ("models", self.models.is_empty()),
            ("task", self.tasks.is_empty()),
            ("method", self.methods.is_empty()),
            ("seeds", self.seeds.is_empty()),
        ];
        if let Some((field, _)) = empty.into_iter().find(|(_, empty)| *empty) {
            return Err(refused(field, &"found none, expected at least one"));
        }
        for (at, entry) in self.methods.iter().enumerate() {
            if let Some(model) = entry.models.iter().find(|m| !self.models.contains(m)) {
                let problem = format!("found {model:?}, expected some of the study's models");
                return Err(refused(&format!("method[{at}].models"), &problem));
            }
        }
        let of_method = |entry: &Entry| entry.counts.len().max(1);
        let most = self.methods.iter().map(of_method).sum::<usize>();
        let sizes = [self.models.len(), self.tasks.len(), most, self.seeds.len()];
        let runs = sizes
            .iter()
            .fold(1usize, |all, size| all.saturating_mul(*size));
        if runs > MOST_RUNS {
            let problem = format!("stands for {runs} runs, expected at most {MOST_RUNS}");
            return Err(refused("study", &problem));
        }
        self.runs().iter().try_for_each(RunSpec::check)
    }

    /// Whether a model or a task of this name is in it.
    pub fn uses(&self, name: &str) -> bool {
        self.models.iter().any(|model| model == name)
            || self.tasks.iter().any(|task| task.name == name)
    }

    /// The runs. All of a seed come before those of the next one, so that a study that ends early has
    /// seen everything.
    pub fn runs(&self) -> Vec<RunSpec> {
        let mut runs = Vec::new();
        for &seed in &self.seeds {
            for (model, task) in self
                .models
                .iter()
                .flat_map(|m| self.tasks.iter().map(move |t| (m, t)))
            {
                for entry in &self.methods {
                    if !entry.models.is_empty() && !entry.models.contains(model) {
                        continue;
                    }
                    runs.extend(entry.methods().into_iter().map(|method| {
                        let mut spec = RunSpec::new(model, &task.name);
                        spec.task = task.clone();
                        spec.method = method;
                        spec.objective = self.objective;
                        spec.head = self.head;
                        spec.train = self.train.clone();
                        spec.optimizer.learning_rate = entry.learning_rate;
                        spec.seeds = Seeds::all(seed);
                        spec
                    }));
                }
            }
        }
        runs
    }
}

impl Entry {
    fn read(field: &str, mut table: Table) -> Result<Self, SpecError> {
        let missing = |name: &str| refused(&format!("{field}.{name}"), &"missing");
        let learning_rate = table.remove("learning_rate");
        let learning_rate = learning_rate.ok_or_else(|| missing("learning_rate"))?;
        let learning_rate = take(field, "learning_rate", learning_rate)?;
        let models = table
            .remove("models")
            .map(|value| take(field, "models", value));
        let counts = table
            .remove("counts")
            .map(|value| take(field, "counts", value));
        let counts: Vec<Budget> = counts.transpose()?.unwrap_or_default();
        let is_apet = table.get("name").and_then(Value::as_str) == Some("apet");
        if is_apet == counts.is_empty() {
            let problem = "expected counts for apet, and for no other method";
            return Err(refused(&format!("{field}.counts"), &problem));
        }
        if let Some(first) = counts.first() {
            table.insert(
                "count".into(),
                Value::try_from(first).map_err(|e| refused(field, &e))?,
            );
        }
        Ok(Self {
            method: Value::Table(table)
                .try_into()
                .map_err(|e| refused(field, &e))?,
            counts,
            learning_rate,
            models: models.transpose()?.unwrap_or_default(),
        })
    }

    /// The method with each of its counts.
    fn methods(&self) -> Vec<Method> {
        let with = |budget: &Budget| {
            let mut method = self.method.clone();
            if let Method::Apet { count, .. } = &mut method {
                *count = *budget;
            }
            method
        };
        match self.counts.is_empty() {
            true => vec![self.method.clone()],
            false => self.counts.iter().map(with).collect(),
        }
    }
}

fn take<'de, T: Deserialize<'de>>(field: &str, name: &str, value: Value) -> Result<T, SpecError> {
    value
        .try_into()
        .map_err(|e| refused(&format!("{field}.{name}"), &e))
}

fn refused(field: &str, problem: &dyn std::fmt::Display) -> SpecError {
    SpecError {
        field: field.into(),
        problem: problem.to_string().trim_end().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SMALL: &str = r#"
        name = "small"
        models = ["a", "b"]
        seeds = [1, 2]
        train = { steps = 3 }
        [[task]]
        name = "t"
        max_length = 32
        [[method]]
        name = "lora"
        rank = 2
        learning_rate = 1e-3
        models = ["b"]
        [[method]]
        name = "apet"
        counts = [10, "as lora"]
        learning_rate = 1e-2
    "#;

    fn refusal(change: (&str, &str)) -> String {
        assert!(SMALL.contains(change.0));
        Grid::parse(&SMALL.replace(change.0, change.1))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_grid_is_its_runs() {
        let runs = Grid::parse(SMALL).unwrap().runs();
        let shown: Vec<String> = runs
            .iter()
            .map(|run| {
                let count = match &run.method {
                    Method::Apet { count, .. } => format!(" {count}"),
                    _ => String::new(),
                };
                format!(
                    "{} {}{count} {}",
                    run.model,
                    run.method.name(),
                    run.seeds.init
                )
            })
            .collect();
        let expected = [
            "a apet 10 1",
            "a apet as lora 1",
            "b lora 1",
            "b apet 10 1",
            "b apet as lora 1",
            "a apet 10 2",
            "a apet as lora 2",
            "b lora 2",
            "b apet 10 2",
            "b apet as lora 2",
        ];
        assert_eq!(shown, expected);
        assert_eq!(runs[2].optimizer.learning_rate, 1e-3);
        assert_eq!((runs[2].train.steps, runs[2].task.max_length), (3, 32));
        assert!(matches!(runs[2].method, Method::Lora { rank: 2, .. }));
    }

    #[test]
    fn wrong_grids_are_refused() {
        assert!(refusal(("rank = 2", "rang = 2")).contains("method[0]: unknown field `rang`"));
        assert!(
            refusal(("name = \"small\"", "names = \"small\"")).contains("unknown field `names`")
        );
        assert_eq!(
            refusal(("[1, 2]", "[]")),
            "seeds: found none, expected at least one"
        );
        assert!(refusal(("counts = [10, \"as lora\"]\n", "")).starts_with("method[1].counts: "));
        assert!(refusal(("rank = 2", "counts = [2]")).starts_with("method[0].counts: "));
        assert!(refusal(("\"as lora\"", "0")).contains("count: found 0"));
        assert!(refusal(("models = [\"b\"]", "models = [\"c\"]")).contains("found \"c\""));
        assert_eq!(
            refusal(("learning_rate = 1e-3\n", "")),
            "method[0].learning_rate: missing"
        );
        assert!(
            refusal(("learning_rate = 1e-3", "learning_rate = -1.0")).contains("learning_rate")
        );
    }

    #[test]
    fn the_demo_is_a_grid_of_different_runs() {
        let runs = Grid::parse(DEMO).unwrap().runs();
        let ids: BTreeSet<String> = runs.iter().map(RunSpec::id).collect();
        assert_eq!(ids.len(), runs.len());
        assert!(runs.len() > 50);
    }
}
