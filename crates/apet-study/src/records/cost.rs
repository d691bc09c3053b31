//! The cost of a score in parameters, time, memory or steps, and the methods on the Pareto front.

use serde::{Deserialize, Serialize};

use super::entries::Study;
use super::filter::Filter;
use super::row::Row;
use super::score_groups::Group;
use crate::stats::sample::Mean;

/// What is paid for a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Tuned parameters, the head not counted.
    #[default]
    Parameters,
    /// Seconds of a run.
    Seconds,
    /// The most bytes held at once.
    Memory,
    /// Steps until dev had come 90 % of the way from the guess to its best.
    Steps,
}

impl Cost {
    fn of_row(self, row: &Row) -> Option<f64> {
        match self {
            Self::Parameters => Some(row.count as f64),
            Self::Seconds => row.seconds,
            Self::Memory => row.peak_bytes.map(|bytes| bytes as f64),
            Self::Steps => row.steps_to_90.map(|steps| steps as f64),
        }
    }
}

/// What runs that differ in nothing but their seeds score and cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParetoPoint {
    /// The runs, with what they score.
    #[serde(flatten)]
    pub group: Group,
    /// What they cost.
    pub cost: Mean,
    /// No other of this task scores as much or more for less, or more for as much: it is on the Pareto front.
    pub front: bool,
}

impl Study {
    /// What scores cost, in the order of [`crate::ScoreGroups::groups`]; runs whose cost is not known are left out.
    pub fn trade_offs(&self, filter: &Filter, cost: Cost) -> Vec<ParetoPoint> {
        let traded = |group: Group| {
            let costs = group
                .runs
                .iter()
                .filter_map(|key| cost.of_row(self.row(key)?));
            Some(ParetoPoint {
                cost: Mean::from_values(&costs.collect::<Vec<_>>())?,
                front: false,
                group,
            })
        };
        let groups = self.score_against_count(filter).groups;
        let mut found: Vec<ParetoPoint> = groups.into_iter().filter_map(traded).collect();
        let is_beaten = |one: &ParetoPoint| {
            found.iter().any(|other| {
                let (score, cost) = (other.group.mean, other.cost.mean);
                other.group.task == one.group.task
                    && score >= one.group.mean
                    && cost <= one.cost.mean
                    && (score > one.group.mean || cost < one.cost.mean)
            })
        };
        let front: Vec<bool> = found.iter().map(|one| !is_beaten(one)).collect();
        for (one, front) in found.iter_mut().zip(front) {
            one.front = front;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let mut study = Study::new();
        let mut add = |count, seed, test| {
            let run = Run {
                count,
                seed,
                test: Some(test),
                ..Run::default()
            };
            study.add("x", &run.text()).unwrap();
        };
        // 100 scores 0.6, 1,000 scores 0.5, 10,000 scores 0.6, 100,000 scores 0.8.
        for (count, tests) in [
            (100, [0.5, 0.7]),
            (1000, [0.5, 0.5]),
            (10_000, [0.6, 0.6]),
            (100_000, [0.8, 0.8]),
        ] {
            add(count, 1, tests[0]);
            add(count, 2, tests[1]);
        }
        let traded = study.trade_offs(&Filter::default(), Cost::Parameters);
        let shown: Vec<_> = traded
            .iter()
            .map(|t| (t.group.count, t.group.n, t.front))
            .collect();
        assert_eq!(
            shown,
            [
                (100, 2, true),
                (1000, 2, false),
                (10_000, 2, false),
                (100_000, 2, true)
            ]
        );
        assert_eq!((traded[0].cost.mean, traded[0].group.mean), (100.0, 0.6));
        assert!(traded[0].group.low.is_some());
        // No record says how much memory it took.
        assert_eq!(study.trade_offs(&Filter::default(), Cost::Memory), []);
        let one = Filter {
            runs: Some(vec![traded[1].group.runs[0].clone()]),
            ..Filter::default()
        };
        let alone = study.trade_offs(&one, Cost::Seconds);
        assert_eq!(
            (alone.len(), alone[0].group.n, alone[0].front),
            (1, 1, true)
        );
    }
}
