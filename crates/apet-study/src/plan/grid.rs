//! A study's grid: models x tasks x methods x counts x placements x seeds, as TOML. [`super::runs::Plan`] has its runs.

use apet_record::{Apet, Budget, Dtype, Head, Method, Objective, SpecError, TaskSpec, Train};
use serde::Deserialize;
use toml::{Table, Value};

/// The study that ends in minutes, on the models and the task that come with the lab.
pub const DEMO: &str = include_str!("../../../../studies/demo.toml");

/// The studies that come with the lab, on the same models and the same task: the demo, and one for each of its questions.
/// A run that is in several of them is the same run.
pub const PRESETS: [&str; 4] = [
    DEMO,
    include_str!("../../../../studies/methods.toml"),
    include_str!("../../../../studies/positions.toml"),
    include_str!("../../../../studies/counts.toml"),
];

/// Learning rates that are tried where a study says `"grid"`: 1e-4 to 1e-1, two a decade. A fixed rate is wrong for tiny
/// budgets (paper, section 5).
pub const RATES: [f64; 7] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1];

/// A grid of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// What the study is called.
    pub name: String,
    /// Its purpose.
    pub about: String,
    /// Models by name, from the smallest to the largest.
    pub models: Vec<String>,
    /// Tasks.
    pub tasks: Vec<TaskSpec>,
    /// What is tuned.
    pub methods: Vec<GridMethod>,
    /// Seeds of batches and initial values; of placement, too, where `placements` is empty.
    pub seeds: Vec<u64>,
    /// Seeds of placement, crossed with `seeds`, for APET entries without their own placements.
    pub placements: Vec<u64>,
    /// How learning rates are chosen.
    pub tune: Tune,
    /// How long and in which batches; the same for all runs.
    pub train: Train,
    /// What the runs learn.
    pub objective: Objective,
    /// How a sequence becomes one vector.
    pub head: Head,
    /// Numbers that the frozen matrices are kept in.
    pub dtype: Dtype,
}

/// How learning rates are chosen where a method has several: by the mean dev score over seeds, of each model, task, method
/// and count by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tune {
    /// Seeds of placement, batches and initial values.
    pub seeds: Vec<u64>,
    /// How long and in which batches; as the study where absent.
    #[serde(default)]
    pub train: Option<Train>,
}

/// A method of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct GridMethod {
    /// The method; of APET the first count.
    pub method: Method,
    /// APET's counts; none for other methods.
    pub counts: Vec<Budget>,
    /// APET's seeds of placement, instead of the study's.
    pub placements: Vec<u64>,
    /// Its seeds, instead of the study's.
    pub seeds: Vec<u64>,
    /// Its learning rate, or those it is chosen from.
    pub rates: Vec<f64>,
    /// The models it is for; all where empty.
    pub models: Vec<String>,
    /// The tasks it is for; all where empty.
    pub tasks: Vec<String>,
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
    placements: Vec<u64>,
    #[serde(default)]
    tune: Tune,
    #[serde(default)]
    train: Train,
    #[serde(default)]
    objective: Objective,
    #[serde(default)]
    head: Head,
    #[serde(default)]
    dtype: Dtype,
    task: Vec<TaskSpec>,
    method: Vec<Table>,
}

impl Grid {
    /// Reads a grid.
    ///
    /// # Errors
    /// Names the field, what was found and what was expected; or the first invalid run.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let file: File = toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
            refused(&format!("line {line}"), &e.message())
        })?;
        let methods = file.method.into_iter().enumerate();
        let methods = methods.map(|(at, table)| GridMethod::read(&format!("method[{at}]"), table));
        let grid = Self {
            name: file.name,
            about: file.about,
            models: file.models,
            tasks: file.task,
            methods: methods.collect::<Result<_, _>>()?,
            seeds: file.seeds,
            placements: file.placements,
            tune: file.tune,
            train: file.train,
            objective: file.objective,
            head: file.head,
            dtype: file.dtype,
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
        let several = self.methods.iter().any(|entry| entry.rates.len() > 1);
        if several && self.tune.seeds.is_empty() {
            let problem = "found none, expected at least one, with which learning rates are chosen";
            return Err(refused("tune.seeds", &problem));
        }
        for (at, entry) in self.methods.iter().enumerate() {
            let known = |name: &&String| !self.tasks.iter().any(|task| task.name == **name);
            let model = entry.models.iter().find(|m| !self.models.contains(m));
            let task = entry.tasks.iter().find(known);
            for (what, wrong) in [("models", model), ("tasks", task)] {
                if let Some(name) = wrong {
                    let problem = format!("found {name:?}, expected some of the study's {what}");
                    return Err(refused(&format!("method[{at}].{what}"), &problem));
                }
            }
        }
        Ok(())
    }

    /// Whether a model or a task of this name is in it.
    pub fn uses(&self, name: &str) -> bool {
        self.models.iter().any(|model| model == name)
            || self.tasks.iter().any(|task| task.name == name)
    }
}

impl GridMethod {
    fn read(field: &str, mut table: Table) -> Result<Self, SpecError> {
        let rates = rates(table.remove("learning_rate"))
            .map_err(|problem| refused(&format!("{field}.learning_rate"), &problem))?;
        let models = list(field, "models", &mut table)?;
        let tasks = list(field, "tasks", &mut table)?;
        let counts: Vec<Budget> = list(field, "counts", &mut table)?;
        let placements: Vec<u64> = list(field, "placements", &mut table)?;
        let seeds: Vec<u64> = list(field, "seeds", &mut table)?;
        let is_apet = table.get("name").and_then(Value::as_str) == Some("apet");
        if !(is_apet || placements.is_empty()) {
            let problem = "expected placements for apet, and for no other method";
            return Err(refused(&format!("{field}.placements"), &problem));
        }
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
            placements,
            seeds,
            rates,
            models,
            tasks,
        })
    }

    /// Whether it is for a model and a task.
    pub(crate) fn is_for(&self, model: &str, task: &str) -> bool {
        let is = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        is(&self.models, model) && is(&self.tasks, task)
    }

    /// The method with each of its counts.
    pub(crate) fn methods(&self) -> Vec<Method> {
        let with = |budget: &Budget| {
            let mut method = self.method.clone();
            if let Method::Apet(Apet { count, .. }) = &mut method {
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

/// A field that is a list, and may be absent.
fn list<'de, T: Deserialize<'de>>(
    field: &str,
    name: &str,
    table: &mut Table,
) -> Result<Vec<T>, SpecError> {
    let value = table.remove(name).map(Value::try_into);
    let list = value.transpose();
    list.map(Option::unwrap_or_default)
        .map_err(|e| refused(&format!("{field}.{name}"), &e))
}

/// A rate, several of them, or `"grid"`.
fn rates(value: Option<Value>) -> Result<Vec<f64>, String> {
    let expected = "expected a number, a list of them to choose from on dev, or \"grid\"";
    let rates: Vec<f64> = match value {
        None => return Err(format!("missing, {expected}")),
        Some(Value::String(word)) if word == "grid" => RATES.to_vec(),
        Some(Value::Float(rate)) => vec![rate],
        Some(Value::Integer(rate)) => vec![rate as f64],
        Some(value) => value.try_into().map_err(|_| expected.to_owned())?,
    };
    match rates
        .iter()
        .find(|rate| !(**rate > 0.0 && rate.is_finite()))
    {
        Some(rate) => Err(format!("found {rate}, expected more than 0")),
        None if rates.is_empty() => Err(format!("found none, {expected}")),
        None => Ok(rates),
    }
}

pub(crate) fn refused(field: &str, problem: &dyn std::fmt::Display) -> SpecError {
    SpecError {
        field: field.into(),
        problem: problem.to_string().trim_end().into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Plan;

    pub(crate) const SMALL: &str = r#"
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
        let grid = Grid::parse(&SMALL.replace(change.0, change.1));
        grid.and_then(Plan::new).unwrap_err().to_string()
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
        assert!(refusal(("rank = 2", "placements = [2]")).starts_with("method[0].placements: "));
        assert!(refusal(("\"as lora\"", "0")).contains("count: found 0"));
        assert!(refusal(("models = [\"b\"]", "models = [\"c\"]")).contains("found \"c\""));
        assert_eq!(
            refusal(("learning_rate = 1e-3\n", "")),
            "method[0].learning_rate: missing, expected a number, a list of them to choose from on dev, or \"grid\""
        );
        assert_eq!(
            refusal(("learning_rate = 1e-3", "learning_rate = [1e-3, 1e-2]")),
            "tune.seeds: found none, expected at least one, with which learning rates are chosen"
        );
        assert_eq!(
            refusal(("learning_rate = 1e-3", "learning_rate = []")),
            "method[0].learning_rate: found none, expected a number, a list of them to choose from on dev, or \"grid\""
        );
        assert!(refusal(("learning_rate = 1e-3", "learning_rate = 0")).contains("found 0"));
        assert!(refusal(("rank = 2", "tasks = [\"u\"]")).contains("found \"u\""));
        assert!(
            refusal(("learning_rate = 1e-3", "learning_rate = -1.0")).contains("learning_rate")
        );
    }
}
