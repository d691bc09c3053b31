//! How much it matters where APET's parameters are, and whether that changes with scale: the spread of scores across
//! placement seeds, apart from what the other seeds do.
//!
//! A study that crosses `placements` with `seeds` gives of each cell a table of scores, a row a placement and a column a
//! seed: score = mean + placement + seed + rest, a two-way layout without replication (Scheffé, 1959, section 7.4). The
//! variance of placements is (mean square of rows - mean square of the rest) / columns. Its interval is that of the
//! generalised pivotal quantity, in which each sum of squares is divided by a draw of its chi-square instead of its
//! degrees of freedom (Tsui and Weerahandi, 1989). A bootstrap of the few placements there are would be too narrow.

use std::collections::{BTreeMap, BTreeSet};

use apet_record::{Method, Stream};
use serde::Serialize;

use crate::records::entries::{Entry, Study};
use crate::records::filter::{Split, score};
use crate::stats::sample::chi_square;

const DRAWS: usize = 2000;

/// The spread of APET's scores across placements, by model, and its trend.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Placements {
    /// From the smallest model to the largest.
    pub models: Vec<Spread>,
    /// Of two models or more.
    pub trend: Option<Trend>,
}

/// The spread of a model's scores across placements: a standard deviation, pooled over tasks and counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Model by name.
    pub model: String,
    /// Parameters of the model.
    pub parameters: u64,
    /// Tasks and counts whose scores are in it.
    pub cells: usize,
    /// The fewest placements of a cell.
    pub placements: usize,
    /// The fewest seeds that each of them had.
    pub seeds: usize,
    /// Standard deviation, 0 to 1.
    pub spread: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Standard deviation of what neither placement nor seed explains.
    pub rest: f64,
}

/// By how much the spread changes where a model has ten times as many parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// Slope of the least-squares line through spread and log10 of the parameters.
    pub slope: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value of the slope.
    pub p: f64,
}

/// A sum of squares with its degrees of freedom.
#[derive(Clone, Copy, Default)]
struct Squares {
    sum: f64,
    freedom: usize,
}

impl Squares {
    fn mean(self) -> f64 {
        self.sum / self.freedom as f64
    }

    /// The variance that may have given it.
    fn drawn(self, stream: &mut Stream) -> f64 {
        self.sum / chi_square(stream, self.freedom)
    }
}

/// What the tables of a model have.
#[derive(Default)]
struct Tables {
    cells: usize,
    placements: usize,
    seeds: usize,
    /// Columns, a table's as often as it has degrees of freedom.
    columns: f64,
    rows: Squares,
    rest: Squares,
}

impl Tables {
    /// Takes in a table of equal rows, two at least, of two scores at least.
    fn add(&mut self, table: &[Vec<f64>]) {
        let (n, m) = (table.len(), table.first().map_or(0, Vec::len));
        let mean =
            |values: &mut dyn Iterator<Item = f64>, of: usize| values.sum::<f64>() / of as f64;
        let by_row: Vec<f64> = table
            .iter()
            .map(|row| mean(&mut row.iter().copied(), m))
            .collect();
        let by_column =
            |at: usize| mean(&mut table.iter().filter_map(|row| row.get(at).copied()), n);
        let by_column: Vec<f64> = (0..m).map(by_column).collect();
        let all = mean(&mut by_row.iter().copied(), n);
        for (row, of_row) in table.iter().zip(&by_row) {
            self.rows.sum += m as f64 * (of_row - all).powi(2);
            let rest = row.iter().zip(&by_column);
            let rest = rest.map(|(score, of_column)| (score - of_row - of_column + all).powi(2));
            self.rest.sum += rest.sum::<f64>();
        }
        self.rows.freedom += n - 1;
        self.rest.freedom += (n - 1) * (m - 1);
        self.columns += (m * (n - 1)) as f64;
        let fewest = |so_far: usize, here: usize| match self.cells {
            0 => here,
            _ => so_far.min(here),
        };
        (self.placements, self.seeds) = (fewest(self.placements, n), fewest(self.seeds, m));
        self.cells += 1;
    }

    /// The standard deviation of placements, where the mean squares are these.
    fn spread(&self, rows: f64, rest: f64) -> f64 {
        let columns = self.columns / self.rows.freedom as f64;
        ((rows - rest) / columns).max(0.0).sqrt()
    }
}

/// Scores by placement, then by the other seeds.
type Scores = BTreeMap<u64, BTreeMap<(u64, u64), f64>>;

/// Scores by task, count and what else the runs have in common.
type Cells = BTreeMap<(String, u64, String), Scores>;

/// The spread across placements of every model that has been tuned at crossed placements and seeds.
fn placements<'a>(entries: impl Iterator<Item = &'a Entry>) -> Placements {
    let mut found: BTreeMap<(u64, String), Cells> = BTreeMap::new();
    for entry in entries {
        let header = &entry.record.header;
        let (spec, seeds) = (&header.spec, &header.spec.seeds);
        let of = |split| score(&entry.record, split);
        let Some(score) = of(Split::Test).or_else(|| of(Split::Dev)) else {
            continue;
        };
        if !matches!(spec.method, Method::Apet(_)) {
            continue;
        }
        let model = (header.model.parameters, spec.model.clone());
        let cell = (
            spec.task.name.clone(),
            header.theta.trainable_parameters,
            entry.setting.clone(),
        );
        let scores = found.entry(model).or_default().entry(cell).or_default();
        let row = scores.entry(seeds.placement).or_default();
        row.insert((seeds.batches, seeds.init), score);
    }
    let of_model = |((parameters, model), cells): ((u64, String), Cells)| {
        let mut tables = Tables::default();
        for scores in cells.into_values() {
            if let Some(table) = crossed(&scores) {
                tables.add(&table);
            }
        }
        (tables.cells > 0).then_some((parameters, model, tables))
    };
    let found: Vec<_> = found.into_iter().filter_map(of_model).collect();

    let mut stream = Stream::new("placements", 0);
    let mut models = Vec::new();
    let mut draws: Vec<Vec<f64>> = Vec::new();
    for (parameters, model, tables) in found {
        let drawn = (0..DRAWS).map(|_| {
            let (rows, rest) = (
                tables.rows.drawn(&mut stream),
                tables.rest.drawn(&mut stream),
            );
            tables.spread(rows, rest)
        });
        let drawn: Vec<f64> = drawn.collect();
        let (low, high) = middle(&drawn);
        models.push(Spread {
            model,
            parameters,
            cells: tables.cells,
            placements: tables.placements,
            seeds: tables.seeds,
            spread: tables.spread(tables.rows.mean(), tables.rest.mean()),
            low,
            high,
            rest: tables.rest.mean().sqrt(),
        });
        draws.push(drawn);
    }
    let trend = trend(&models, &draws);
    Placements { models, trend }
}

/// The scores of the seeds that all placements have, a row a placement; none of fewer than two by two.
fn crossed(scores: &Scores) -> Option<Vec<Vec<f64>>> {
    let mut seeds: Option<BTreeSet<(u64, u64)>> = None;
    for row in scores.values() {
        let here: BTreeSet<(u64, u64)> = row.keys().copied().collect();
        seeds = Some(seeds.map_or(here.clone(), |seeds| &seeds & &here));
    }
    let seeds = seeds.filter(|seeds| seeds.len() > 1 && scores.len() > 1)?;
    let row = |row: &BTreeMap<_, f64>| {
        seeds
            .iter()
            .filter_map(|seed| row.get(seed).copied())
            .collect()
    };
    Some(scores.values().map(row).collect())
}

fn trend(models: &[Spread], draws: &[Vec<f64>]) -> Option<Trend> {
    let sizes: Vec<f64> = models
        .iter()
        .map(|of| (of.parameters.max(1) as f64).log10())
        .collect();
    let spreads: Vec<f64> = models.iter().map(|of| of.spread).collect();
    let found = slope(&sizes, &spreads)?;
    let of_draw = |at: usize| {
        let spreads: Vec<f64> = draws.iter().filter_map(|of| of.get(at).copied()).collect();
        slope(&sizes, &spreads)
    };
    let drawn: Vec<f64> = (0..DRAWS).filter_map(of_draw).collect();
    let share = |is: fn(&f64) -> bool| drawn.iter().filter(|x| is(x)).count() as f64 / DRAWS as f64;
    let p = 2.0 * share(|x| *x >= 0.0).min(share(|x| *x <= 0.0));
    let (low, high) = middle(&drawn);
    Some(Trend {
        slope: found,
        low,
        high,
        p: p.min(1.0),
    })
}

/// Slope of the least-squares line; none where all models are of one size.
fn slope(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let sxx: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
    let sxy: f64 = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum();
    (sxx > 0.0).then_some(sxy / sxx)
}

/// Where the middle 95 % of the draws are.
fn middle(draws: &[f64]) -> (f64, f64) {
    let mut draws = draws.to_vec();
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * (draws.len().max(1) - 1) as f64).round() as usize;
        draws.get(place).copied().unwrap_or_default()
    };
    (at(0.025), at(0.975))
}

impl Study {
    /// How much it matters where APET's parameters are, where placements were crossed with seeds; in `runs` (keys or run
    /// ids), or in all.
    pub fn placements(&self, runs: Option<&[String]>) -> Placements {
        placements(self.once(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Run;
    use apet_record::RunRecord;

    /// A study of APET at crossed placements and seeds, on models of 1, 10, 100 ... million parameters.
    fn study(models: &[Vec<Vec<f64>>]) -> Study {
        let names = ["a", "b", "c"];
        let mut study = Study::new();
        for (at, (table, model)) in models.iter().zip(names).enumerate() {
            for (placement, row) in table.iter().enumerate() {
                for (seed, &score) in row.iter().enumerate() {
                    let run = Run {
                        model,
                        test: Some(score),
                        ..Run::default()
                    };
                    let mut record = RunRecord::parse(&run.text()).unwrap().remove(0);
                    let header = &mut record.header;
                    header.model.parameters = 10u64.pow(6 + at as u32);
                    header.spec.seeds.placement = placement as u64;
                    header.spec.seeds.batches = 100 + seed as u64;
                    header.run = header.spec.id();
                    study.insert("x", record).unwrap();
                }
            }
        }
        study
    }

    /// A table around 0.5 with these deviations of placements, seeds and rest.
    fn table(stream: &mut Stream, n: usize, m: usize, of: [f64; 3]) -> Vec<Vec<f64>> {
        let columns: Vec<f64> = (0..m).map(|_| of[1] * stream.normal()).collect();
        let row = |stream: &mut Stream| {
            let level = 0.5 + of[0] * stream.normal();
            let score = |column: &f64| level + column + of[2] * stream.normal();
            columns.iter().map(score).collect()
        };
        (0..n).map(|_| row(stream)).collect()
    }

    /// Rows' mean square 0.0081, that of the rest 0.0001: (0.0081 - 0.0001) / 2.
    #[test]
    fn a_spread_by_hand() {
        let found = study(&[vec![vec![0.80, 0.82], vec![0.70, 0.74]]]).placements(None);
        let [of] = &found.models[..] else {
            panic!("one model");
        };
        assert!((of.spread - 0.004f64.sqrt()).abs() < 1e-12, "{of:?}");
        assert!((of.rest - 0.01).abs() < 1e-12, "{of:?}");
        assert_eq!((of.cells, of.placements, of.seeds), (1, 2, 2));
        assert!(found.trend.is_none());
    }

    #[test]
    fn seeds_that_a_placement_lacks_are_left_out() {
        let whole = study(&[vec![vec![0.80, 0.82], vec![0.70, 0.74]]]).placements(None);
        let more = study(&[vec![vec![0.80, 0.82, 0.9], vec![0.70, 0.74]]]).placements(None);
        assert_eq!(whole, more);
        // One placement, or one seed, tells nothing.
        for table in [vec![vec![0.8, 0.9]], vec![vec![0.8], vec![0.9]]] {
            assert_eq!(study(&[table]).placements(None), Placements::default());
        }
    }

    /// With 6 placements and 3 seeds; what seeds and chance do is as large as what placements do.
    #[test]
    fn intervals_cover_the_truth() {
        let mut stream = Stream::new("a test of coverage", 0);
        for truth in [0.01, 0.03] {
            let mut covered = 0;
            for _ in 0..200 {
                let found =
                    study(&[table(&mut stream, 6, 3, [truth, 0.02, 0.02])]).placements(None);
                let of = &found.models[0];
                covered += usize::from(of.low <= truth && truth <= of.high);
            }
            assert!((180..=199).contains(&covered), "{truth}: {covered} of 200");
        }
    }

    #[test]
    fn a_trend_is_found_where_there_is_one() {
        let mut stream = Stream::new("a test of trends", 0);
        let mut found = |spreads: [f64; 3]| {
            let tables = spreads.map(|of| table(&mut stream, 12, 3, [of, 0.01, 0.005]));
            study(&tables).placements(None).trend.unwrap()
        };
        let falls = found([0.06, 0.03, 0.01]);
        assert!(falls.high < 0.0 && falls.p < 0.05, "{falls:?}");
        // A trend is rarely found in data without one.
        let false_ones = (0..100).filter(|_| found([0.03; 3]).p < 0.05).count();
        assert!(false_ones <= 12, "{false_ones} of 100");
    }

    #[test]
    fn only_the_asked_runs_count_by_key_or_by_id() {
        let tables = [
            vec![vec![0.80, 0.82], vec![0.70, 0.74]],
            vec![vec![0.6, 0.7], vec![0.9, 0.7]],
        ];
        let both = study(&tables);
        let of_first = |row: &&crate::Row| row.model == both.placements(None).models[0].model;
        let rows = both.rows();
        let keys: Vec<String> = rows
            .iter()
            .filter(of_first)
            .map(|r| r.key.clone())
            .collect();
        let ids: Vec<String> = rows
            .iter()
            .filter(of_first)
            .map(|r| r.run.clone())
            .collect();
        let first = Some(&both.placements(None).models[..1]);
        assert_eq!(Some(&both.placements(Some(&keys)).models[..]), first);
        assert_eq!(both.placements(Some(&ids)), both.placements(Some(&keys)));
        assert_eq!(both.placements(Some(&[])), Placements::default());
    }

    #[test]
    fn a_report_has_the_spread_across_placements() {
        let tables = [
            vec![vec![0.80, 0.82], vec![0.70, 0.74]],
            vec![vec![0.80, 0.82], vec![0.79, 0.80]],
        ];
        let text = study(&tables).report("small", "About.", None);
        assert!(
            text.contains("\n## Spread of APET across placements\n")
                && text.contains("| a | 1 | 2 x 2 | 6.3 ["),
            "{text}"
        );
    }
}
