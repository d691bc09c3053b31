//! The runs of a study by number. Those of its first stage choose learning rates; a run of the second takes the rate that did
//! best on dev, so what it is follows from the study's text and from records that are there.

use std::collections::BTreeSet;
use std::ops::Range;

use apet_record::{Method, RunSpec, Seeds, SpecError};

use super::grid::{Grid, GridMethod, refused};
use crate::stats::sample::mean;

/// More runs than this are a slip in the file.
const MOST_RUNS: u64 = 1_000_000;

/// A part of a study that ends before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Chooses learning rates on dev.
    Tune,
    /// What the study is for.
    Main,
}

impl Stage {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tune => "tune",
            Self::Main => "main",
        }
    }
}

/// The runs of a grid by number, from 0.
#[derive(Clone, Debug)]
pub struct Plan {
    grid: Grid,
    cells: Vec<PlanCell>,
    /// How many runs choose learning rates.
    tuning: usize,
    /// The runs of the main stage: a cell, its seed, and its placement where the grid has some. All of a seed come
    /// before those of the next one: a study that ends early has seen everything.
    main: Vec<(usize, u64, Option<u64>)>,
}

/// What differs in nothing but seeds and learning rates.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanCell {
    /// Model by name.
    pub model: String,
    /// Task, by its place in the grid.
    pub task: usize,
    /// The method.
    pub method: Method,
    /// The rates it may have.
    pub rates: Vec<f64>,
    /// Its runs that choose among them, a rate's seeds one after another; none where there is one rate.
    pub tuning: Range<usize>,
}

/// The seeds of placement that are crossed with the others; empty for methods without a placement.
fn placements<'a>(grid: &'a Grid, entry: &'a GridMethod) -> &'a [u64] {
    match (&entry.method, &entry.placements[..]) {
        (Method::Apet(_), []) => &grid.placements,
        (Method::Apet(_), own) => own,
        _ => &[],
    }
}

/// The seeds of a method's runs.
fn seeds<'a>(grid: &'a Grid, entry: &'a GridMethod) -> &'a [u64] {
    match &entry.seeds[..] {
        [] => &grid.seeds,
        own => own,
    }
}

impl Plan {
    /// The runs of a grid.
    ///
    /// # Errors
    /// When there are no runs or more than a million, or when one is invalid.
    pub fn new(grid: Grid) -> Result<Self, SpecError> {
        let sum = |of: &dyn Fn(&GridMethod) -> usize| {
            let cells = (grid.methods.iter()).map(|e| e.counts.len().max(1).saturating_mul(of(e)));
            (cells.sum::<usize>() * grid.models.len() * grid.tasks.len()) as u64
        };
        // Before any is made: with the methods that are not for all models and tasks.
        let tuning = sum(&|e| e.rates.len()).saturating_mul(grid.tune.seeds.len() as u64);
        let main = sum(&|e| placements(&grid, e).len().max(1) * seeds(&grid, e).len());
        let runs = tuning.saturating_add(main);
        if runs > MOST_RUNS {
            let problem = format!("stands for up to {runs} runs, expected at most {MOST_RUNS}");
            return Err(refused("study", &problem));
        }
        let mut plan = Self {
            cells: Vec::new(),
            tuning: 0,
            main: Vec::new(),
            grid,
        };
        plan.fill();
        if plan.is_empty() {
            let problem = "stands for no run: no method is for any of its models and tasks";
            return Err(refused("study", &problem));
        }
        // Every cell with every rate; seeds are checked with them.
        for cell in 0..plan.cells.len() {
            for &rate in &plan.cells[cell].rates {
                let Grid {
                    seeds,
                    placements,
                    tune,
                    ..
                } = &plan.grid;
                let methods = plan.grid.methods.iter();
                let own = methods.flat_map(|e| e.placements.iter().chain(&e.seeds));
                for &seed in seeds.iter().chain(placements).chain(own).chain(&tune.seeds) {
                    plan.spec_of(cell, Seeds::all(seed), rate).check()?;
                }
            }
        }
        Ok(plan)
    }

    fn fill(&mut self) {
        let tasks = self.grid.tasks.iter().enumerate();
        let tasks: Vec<_> = tasks.map(|(at, task)| (at, &task.name)).collect();
        let mut entry_of = Vec::new();
        for model in &self.grid.models {
            for &(task, name) in &tasks {
                let entries = self.grid.methods.iter().filter(|e| e.is_for(model, name));
                for (entry, method) in
                    entries.flat_map(|e| e.methods().into_iter().map(move |m| (e, m)))
                {
                    let tries = match entry.rates.len() {
                        1 => 0,
                        rates => rates * self.grid.tune.seeds.len(),
                    };
                    entry_of.push(entry);
                    self.cells.push(PlanCell {
                        model: model.clone(),
                        task,
                        method,
                        rates: entry.rates.clone(),
                        tuning: self.tuning..self.tuning + tries,
                    });
                    self.tuning += tries;
                }
            }
        }
        // The study's seeds, then those that only some methods have.
        let of_study: BTreeSet<u64> = self.grid.seeds.iter().copied().collect();
        let others = self.grid.methods.iter().flat_map(|e| &e.seeds);
        let others: BTreeSet<u64> = others.copied().filter(|s| !of_study.contains(s)).collect();
        for &seed in self.grid.seeds.iter().chain(&others) {
            for (cell, entry) in entry_of.iter().enumerate() {
                let has = match entry.seeds.is_empty() {
                    true => of_study.contains(&seed),
                    false => entry.seeds.contains(&seed),
                };
                if !has {
                    continue;
                }
                match placements(&self.grid, entry) {
                    [] => self.main.push((cell, seed, None)),
                    some => (self.main).extend(some.iter().map(|&p| (cell, seed, Some(p)))),
                }
            }
        }
    }

    /// The grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What the runs are of.
    pub fn cells(&self) -> &[PlanCell] {
        &self.cells
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.tuning + self.main.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The runs of a stage.
    pub fn of_stage(&self, stage: Stage) -> Range<usize> {
        match stage {
            Stage::Tune => 0..self.tuning,
            Stage::Main => self.tuning..self.len(),
        }
    }

    /// The cell of a run; none beyond the last run.
    pub fn cell(&self, run: usize) -> Option<&PlanCell> {
        Some(&self.cells[self.cell_number(run)?])
    }

    /// The place of a run's cell among [`Plan::cells`].
    pub fn cell_number(&self, run: usize) -> Option<usize> {
        Some(self.place(run)?.0)
    }

    /// The cell of a run, its seeds, and its rate where it is one that chooses.
    fn place(&self, run: usize) -> Option<(usize, Seeds, Option<f64>)> {
        if run < self.tuning {
            let cell = self.cells.partition_point(|cell| cell.tuning.end <= run);
            let own = run - self.cells[cell].tuning.start;
            let seeds = &self.grid.tune.seeds;
            let rate = self.cells[cell].rates[own / seeds.len()];
            return Some((cell, Seeds::all(seeds[own % seeds.len()]), Some(rate)));
        }
        let (cell, seed, placement) = *self.main.get(run - self.tuning)?;
        let mut seeds = Seeds::all(seed);
        seeds.placement = placement.unwrap_or(seed);
        Some((cell, seeds, None))
    }

    /// The run with a number; `dev` is the dev score of a run that is done, by its number: negative infinity for
    /// one that has none.
    ///
    /// # Errors
    /// The runs that must be done before, where they are not; none where there is no such run.
    pub fn spec(
        &self,
        run: usize,
        dev: &dyn Fn(usize) -> Option<f64>,
    ) -> Result<RunSpec, Range<usize>> {
        let Some((cell, seeds, rate)) = self.place(run) else {
            return Err(0..0);
        };
        let of = &self.cells[cell];
        let Some(rate) = rate else {
            let rate = self.chosen(of, dev).ok_or_else(|| of.tuning.clone())?;
            return Ok(self.spec_of(cell, seeds, rate));
        };
        let mut spec = self.spec_of(cell, seeds, rate);
        if let Some(train) = &self.grid.tune.train {
            spec.train = train.clone();
        }
        Ok(spec)
    }

    /// The rate with the best mean dev score; the smallest of equal ones.
    fn chosen(&self, cell: &PlanCell, dev: &dyn Fn(usize) -> Option<f64>) -> Option<f64> {
        if let [rate] = cell.rates[..] {
            return Some(rate);
        }
        let seeds = self.grid.tune.seeds.len();
        let mut best: Option<(f64, f64)> = None;
        for (at, &rate) in cell.rates.iter().enumerate() {
            let first = cell.tuning.start + at * seeds;
            let scores: Option<Vec<f64>> = (first..first + seeds).map(dev).collect();
            let score = mean(&scores?)?;
            let better = |(of_best, best_rate): (f64, f64)| {
                score > of_best || (score == of_best && rate < best_rate)
            };
            if best.is_none_or(better) {
                best = Some((score, rate));
            }
        }
        best.map(|(_, rate)| rate)
    }

    /// A run of a cell, by its place among [`Plan::cells`]: what all its runs have but seeds, rates and the stage's steps.
    pub fn of_cell(&self, cell: usize) -> RunSpec {
        self.spec_of(cell, Seeds::default(), self.cells[cell].rates[0])
    }

    fn spec_of(&self, cell: usize, seeds: Seeds, rate: f64) -> RunSpec {
        let cell = &self.cells[cell];
        let task = &self.grid.tasks[cell.task];
        let mut spec = RunSpec::new(&cell.model, &task.name);
        spec.task = task.clone();
        spec.method = cell.method.clone();
        spec.objective = self.grid.objective;
        spec.head = self.grid.head;
        spec.dtype = self.grid.dtype;
        spec.train = self.grid.train.clone();
        spec.optimizer.learning_rate = rate;
        spec.seeds = seeds;
        spec
    }
}

#[cfg(test)]
mod tests {
    use apet_record::{Apet, Lora};

    use super::*;
    use crate::plan::grid::tests::SMALL;
    use crate::{DEMO, PRESETS};

    const TUNED: &str = r#"
        name = "tuned"
        models = ["a"]
        seeds = [1, 2]
        placements = [5, 6]
        train = { steps = 30 }
        tune = { seeds = [8, 9], train = { steps = 10 } }
        [[task]]
        name = "t"
        [[task]]
        name = "u"
        [[method]]
        name = "lora"
        learning_rate = [1e-3, 1e-2]
        tasks = ["u"]
        [[method]]
        name = "apet"
        counts = [10]
        learning_rate = [3e-2, 1e-2, 3e-3]
    "#;

    fn plan(text: &str) -> Plan {
        Plan::new(Grid::parse(text).unwrap()).unwrap()
    }

    fn runs(plan: &Plan) -> Vec<RunSpec> {
        (0..plan.len())
            .map(|run| plan.spec(run, &|_| None).unwrap())
            .collect()
    }

    #[test]
    fn a_grid_is_its_runs() {
        let runs = runs(&plan(SMALL));
        let shown: Vec<String> = runs
            .iter()
            .map(|run| {
                let count = match &run.method {
                    Method::Apet(Apet { count, .. }) => format!(" {count}"),
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
        assert!(matches!(runs[2].method, Method::Lora(Lora { rank: 2, .. })));
        assert!(plan(SMALL).spec(10, &|_| None).is_err());
    }

    #[test]
    fn rates_are_chosen_before_they_are_used() {
        let plan = plan(TUNED);
        // 3 rates x 2 seeds of APET on t; 2 x 2 of LoRA and 3 x 2 of APET on u.
        assert_eq!(plan.of_stage(Stage::Tune), 0..16);
        // Of each seed: APET on t at two placements, LoRA on u, APET on u at two placements.
        assert_eq!(plan.of_stage(Stage::Main), 16..26);
        let tries: Vec<_> = (6..10)
            .map(|run| {
                let spec = plan.spec(run, &|_| None).unwrap();
                assert_eq!((spec.method.name(), spec.train.steps), ("lora", 10));
                (spec.optimizer.learning_rate, spec.seeds.init)
            })
            .collect();
        assert_eq!(tries, [(1e-3, 8), (1e-3, 9), (1e-2, 8), (1e-2, 9)]);
        // LoRA of the first seed waits for its four, all of them.
        assert_eq!(plan.spec(18, &|_| None), Err(6..10));
        let scores = [0.7, 0.9, 0.9, 0.6];
        let dev = |run: usize| scores.get(run - 6).copied();
        let lora = plan.spec(18, &dev).unwrap();
        assert_eq!((lora.optimizer.learning_rate, lora.train.steps), (1e-3, 30));
        assert_eq!(
            plan.spec(18, &|run| dev(run).filter(|_| run != 8)),
            Err(6..10)
        );
        // Of equal means the smallest rate; one without a score is never it.
        let equal = |run: usize| Some(if run < 2 { f64::NEG_INFINITY } else { 0.5 });
        let apet = plan.spec(17, &equal).unwrap();
        assert_eq!(apet.optimizer.learning_rate, 3e-3);
        assert_eq!((apet.seeds.placement, apet.seeds.init), (6, 1));
        assert_eq!(plan.cell(17).unwrap().tuning, 0..6);
    }

    #[test]
    fn a_method_may_have_placements_of_its_own() {
        let plan = plan(&TUNED.replace("counts = [10]", "counts = [10]\n placements = [7]"));
        // Of each seed: APET on t, LoRA on u, APET on u.
        assert_eq!(plan.of_stage(Stage::Main), 16..22);
        let seeds = plan.spec(16, &|_| Some(0.5)).unwrap().seeds;
        assert_eq!((seeds.placement, seeds.init), (7, 1));
        let none = TUNED.replace("counts = [10]", "counts = [10]\n placements = [-7]");
        let none = Grid::parse(&none).unwrap_err().to_string();
        assert!(none.starts_with("method[1].placements: "), "{none}");
    }

    #[test]
    fn a_method_may_have_seeds_of_its_own() {
        let plan = plan(&SMALL.replace("models = [\"b\"]", "models = [\"b\"]\n seeds = [2, 7]"));
        let shown: Vec<_> = runs(&plan)
            .iter()
            .map(|run| format!("{} {} {}", run.model, run.method.name(), run.seeds.init))
            .collect();
        let expected = [
            "a apet 1", "a apet 1", "b apet 1", "b apet 1", "a apet 2", "a apet 2", "b lora 2",
            "b apet 2", "b apet 2", "b lora 7",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn all_runs_are_different_and_none_is_lost() {
        for text in [SMALL, TUNED].into_iter().chain(PRESETS) {
            let plan = plan(text);
            let scored = |run: usize| Some(run as f64);
            let ids = (0..plan.len()).map(|run| plan.spec(run, &scored).unwrap().id());
            assert_eq!(ids.collect::<BTreeSet<_>>().len(), plan.len());
        }
        assert!(plan(DEMO).len() > 50);
    }

    #[test]
    fn what_the_demo_and_a_preset_both_ask_is_run_once() {
        let ids = |text| -> BTreeSet<String> {
            let plan = plan(text);
            let specs = (0..plan.len()).map(|run| plan.spec(run, &|_| None).unwrap());
            specs.map(|spec| spec.id()).collect()
        };
        let [demo, methods, positions, counts] = PRESETS.map(ids);
        assert!(methods.is_subset(&demo) && counts.is_subset(&demo));
        let placed = plan(PRESETS[2]);
        assert_eq!(positions.len(), 3 * 6 * 2, "models x placements x seeds");
        assert!(placed.grid().methods[0].placements.len() >= 6);
    }

    #[test]
    fn the_studies_that_come_with_the_lab_are_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../studies");
        let mut found = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let plan = plan(&std::fs::read_to_string(&path).unwrap());
            let name = &plan.grid().name;
            assert_eq!(path.file_stem().unwrap(), &name[..]);
            assert!(plan.len() > 30, "{name}");
            found += 1;
        }
        assert!(found >= 7);
    }

    #[test]
    fn no_run_and_too_many_are_refused() {
        let refusal = |from: &str, to: &str| {
            let text = TUNED.replace(from, to);
            Plan::new(Grid::parse(&text).unwrap())
                .unwrap_err()
                .to_string()
        };
        let many: Vec<String> = (0..200_000).map(|n| n.to_string()).collect();
        let seeds = format!("seeds = [{}]\n        placements", many.join(","));
        assert_eq!(
            refusal("seeds = [1, 2]\n        placements", &seeds),
            "study: stands for up to 1200020 runs, expected at most 1000000"
        );
        assert!(refusal("[5, 6]", "[5, 9007199254740992]").contains("seeds.placement"));
    }
}
