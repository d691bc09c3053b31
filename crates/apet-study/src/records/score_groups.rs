//! Scores against the number of tuned parameters.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::entries::{Entry, Study};
use super::filter::{Filter, Split, score};
use crate::stats::sample::{deviation, interval95, mean};

/// Scores against the number of tuned parameters, over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreGroups {
    /// The task, where one was asked for.
    pub task: Option<String>,
    /// The split whose score is shown.
    pub split: Split,
    /// What the score is, where it is the same for all runs shown: `accuracy`, `ROUGE-L`.
    pub metric: Option<&'static str>,
    /// The points, in the order of model, task, method, count.
    pub groups: Vec<Group>,
    /// Those of full fine-tuning among the points: the line the others are compared with.
    pub full: Vec<Group>,
    /// Accuracy of a uniform guess, where all runs shown agree.
    pub uniform_guess: Option<f64>,
    /// Accuracy of dev's most frequent class on dev, where all runs shown agree.
    pub majority_guess: Option<f64>,
    /// How many runs are in the table but not here: unfinished, stopped, diverged, or
    /// without a score from -1 to 1 on the split.
    pub left_out: usize,
    /// Keys of the runs that are left out.
    pub left_out_runs: Vec<String>,
}

/// Runs that differ in nothing but their seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Model by name.
    pub model: String,
    /// Parameters of the model.
    pub parameters: u64,
    /// Task by name.
    pub task: String,
    /// What the score is: `accuracy`, `ROUGE-L`.
    pub metric: &'static str,
    /// Method by name.
    pub method: String,
    /// Parameters that were tuned, the head not counted; 0 for the head alone.
    pub count: u64,
    /// Id of everything in the spec but the seeds, and of the weights: two groups with
    /// the same model, task, method and count differ in it.
    pub setting: String,
    /// Mean score over runs.
    pub mean: f64,
    /// Their standard deviation; none of a single run.
    pub deviation: Option<f64>,
    /// Lower end of the 95 % interval of the mean; none of a single run.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Runs. A run done on several devices counts once, with the mean of its scores.
    pub n: usize,
    /// Keys of the records.
    pub runs: Vec<String>,
}

impl ScoreGroups {
    pub(crate) fn from_entries<'a>(
        entries: impl Iterator<Item = (&'a str, &'a Entry)>,
        filter: &Filter,
    ) -> Self {
        let mut members: BTreeMap<GroupKey, Vec<Member>> = BTreeMap::new();
        let mut left_out_runs = Vec::new();
        let mut guesses = Vec::new();
        let asked: Option<HashSet<&str>> =
            (filter.runs.as_ref()).map(|runs| runs.iter().map(String::as_str).collect());
        let is = |asked: &Option<String>, name: &String| asked.as_ref().is_none_or(|a| a == name);
        for (key, entry) in entries {
            let record = &entry.record;
            let spec = &record.header.spec;
            if !is(&filter.task, &spec.task.name)
                || !is(&filter.model, &spec.model)
                || asked.as_ref().is_some_and(|asked| !asked.contains(key))
            {
                continue;
            }
            let Some(score) = score(record, filter.split) else {
                left_out_runs.push(key.to_owned());
                continue;
            };
            let task = &record.header.task;
            guesses.push((task.uniform_guess, task.majority_guess));
            members
                .entry(GroupKey::from_entry(entry))
                .or_default()
                .push(Member {
                    key: key.into(),
                    run: record.header.run.clone(),
                    score,
                });
        }
        let groups: Vec<Group> = members
            .into_iter()
            .filter_map(|(key, members)| group(key, members))
            .collect();
        Self {
            task: filter.task.clone(),
            split: filter.split,
            metric: agreed(groups.iter().map(|g| g.metric)),
            full: groups
                .iter()
                .filter(|g| g.method == "full")
                .cloned()
                .collect(),
            groups,
            uniform_guess: agreed(guesses.iter().map(|g| g.0)),
            majority_guess: agreed(guesses.iter().map(|g| g.1)),
            left_out: left_out_runs.len(),
            left_out_runs,
        }
    }
}

/// Sorted as the figure lists its groups.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    model: String,
    task: String,
    method: String,
    count: u64,
    setting: String,
    parameters: u64,
    metric: &'static str,
}

impl GroupKey {
    fn from_entry(entry: &Entry) -> Self {
        let row = &entry.row;
        Self {
            model: row.model.clone(),
            task: row.task.clone(),
            method: row.method.clone(),
            count: row.count,
            setting: entry.setting.clone(),
            parameters: row.parameters,
            metric: entry.record.header.task.metric.title(),
        }
    }
}

struct Member {
    key: String,
    run: String,
    score: f64,
}

fn group(key: GroupKey, members: Vec<Member>) -> Option<Group> {
    let mut of_run: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for member in &members {
        of_run.entry(&member.run).or_default().push(member.score);
    }
    let scores: Vec<f64> = of_run.values().filter_map(|scores| mean(scores)).collect();
    let interval = interval95(&scores);
    Some(Group {
        mean: mean(&scores)?,
        deviation: deviation(&scores),
        low: interval.map(|i| i.low),
        high: interval.map(|i| i.high),
        n: scores.len(),
        model: key.model,
        parameters: key.parameters,
        task: key.task,
        metric: key.metric,
        method: key.method,
        count: key.count,
        setting: key.setting,
        runs: members.into_iter().map(|m| m.key).collect(),
    })
}

/// The value, where there is one and all are equal.
fn agreed<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}

impl Study {
    /// Scores against the number of tuned parameters.
    pub fn score_against_count(&self, filter: &Filter) -> ScoreGroups {
        ScoreGroups::from_entries(self.iter(), filter)
    }
}

#[cfg(test)]
mod tests;
