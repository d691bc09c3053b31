use std::collections::BTreeMap;

use apet_record::Stream;

use super::cells::*;
use super::measures::*;
use super::results::*;

fn cell(key: MethodKey, count: u64, scores: &[f64]) -> MethodCell {
    MethodCell::new(key, count, scores.to_vec())
}

fn pet(name: &str, count: u64, score: f64) -> MethodCell {
    cell(
        MethodKey::Other(name.into()),
        count,
        &[score - 0.01, score, score + 0.01],
    )
}

fn apet(count: u64, score: f64) -> MethodCell {
    cell(MethodKey::Apet, count, &[score - 0.01, score, score + 0.01])
}

fn whole(key: MethodKey, score: f64) -> MethodCell {
    cell(key, 0, &[score - 0.01, score, score + 0.01])
}

fn cells_of_task(cells: Vec<MethodCell>) -> TaskCells {
    TaskCells {
        noise: noise(&cells),
        cells,
        guess: 0.5,
    }
}

fn models(of: Vec<Vec<MethodCell>>) -> ModelCells {
    let one = |(at, cells): (usize, Vec<MethodCell>)| {
        let tasks = BTreeMap::from([("t".to_owned(), cells_of_task(cells))]);
        (format!("m{at}"), tasks)
    };
    ModelCells {
        models: of.into_iter().enumerate().map(one).collect(),
    }
}

#[test]
fn noise_is_pooled() {
    // Squares 2e-4 and 0.5e-4 over 2 and 1 degrees of freedom.
    let cells = [
        cell(MethodKey::Full, 1, &[0.79, 0.8, 0.81]),
        cell(MethodKey::Head, 1, &[0.5, 0.51]),
        cell(MethodKey::Apet, 1, &[0.1]),
    ];
    assert!((noise(&cells) - (2.5e-4f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(noise(&[]), 0.0);
}

#[test]
fn a_spread_is_less_what_seeds_give() {
    // Variance 0.01, less 0.06^2 / 4.
    let parts = [(0.5, 4.0), (0.6, 4.0), (0.7, 4.0)];
    let found = spread(&parts, 0.06).unwrap();
    assert!((found - (0.01f64 - 0.0009).sqrt()).abs() < 1e-12);
    assert_eq!(spread(&parts, 0.3), Some(0.0));
    assert_eq!(spread(&parts[..1], 0.0), None);
}

#[test]
fn a_method_is_compared_with_as_many_parameters() {
    let asked = cell(MethodKey::Apet, 90, &[0.6; 3]);
    let cells = vec![
        pet("lora", 100, 0.7),
        pet("bitfit", 20, 0.64),
        asked,
        apet(20, 0.6),
        pet("prompt", 5, 0.9),
        // A tenth off at most: nothing is as many as these.
        pet("adapter", 81, 0.9),
        pet("ia3", 101, 0.9),
    ];
    let cells_of_task = cells_of_task(cells);
    let found = pairs(&cells_of_task);
    assert_eq!(found.len(), 2);
    assert!(
        (found[0].2 - 0.1).abs() < 1e-12 && (found[1].2 - 0.04).abs() < 1e-12 && found[0].1 == 1.5
    );
    let by_chance = cells_of_task.noise.powi(2) / 1.5;
    let expected = ((0.01 + 0.0016) / 2.0 - by_chance).sqrt();
    assert!((apart(&cells_of_task).unwrap() - expected).abs() < 1e-12);
}

#[test]
fn thresholds_by_hand() {
    let cells = vec![
        whole(MethodKey::Head, 0.6),
        whole(MethodKey::Full, 0.8),
        apet(10, 0.6),
        apet(100, 0.7),
        apet(1000, 0.66), // a dip: 100 and 1000 are taken together, 0.68
        apet(10_000, 0.8),
    ];
    let cells_of_task = cells_of_task(cells);
    assert_eq!(cells_of_task.reference(), 0.6);
    let curve = cells_of_task.curve();
    let levels: Vec<f64> = curve
        .iter()
        .map(|point| (point.1 * 1e6).round() / 1e6)
        .collect();
    assert_eq!(levels, [0.6, 0.68, 0.68, 0.8]);
    // 0.79 lies 11 / 12 of the way from 1000 to 10,000.
    assert!((high_threshold(&cells_of_task).unwrap() - (3.0 + 11.0 / 12.0)).abs() < 1e-9);
    // Noise 0.01: 0.1 is far above, 0 is not.
    assert!((low_threshold(&cells_of_task).unwrap() - 2.0).abs() < 1e-12);
}

#[test]
fn what_is_not_reached_has_no_threshold() {
    let cells_of_task = cells_of_task(vec![
        whole(MethodKey::Head, 0.6),
        whole(MethodKey::Full, 0.8),
        apet(10, 0.6),
    ]);
    assert_eq!(
        (
            high_threshold(&cells_of_task),
            low_threshold(&cells_of_task)
        ),
        (None, None)
    );
}

fn study<const N: usize>(spreads: [f64; N]) -> Vec<Vec<MethodCell>> {
    let of = |spread: f64| {
        vec![
            whole(MethodKey::Full, 0.8),
            whole(MethodKey::Head, 0.6),
            pet("lora", 100, 0.7),
            pet("bitfit", 50, 0.7 + spread),
            pet("adapter", 200, 0.7 - spread),
            apet(100, 0.7),
            apet(50, 0.7),
            apet(200, 0.7),
        ]
    };
    spreads.map(of).to_vec()
}

fn answer(model_cells: &ModelCells, number: usize) -> ClaimResult {
    let name = ["methods", "positions"][number - 1];
    let of: fn(&TaskCells) -> Option<f64> = [across_methods, apart][number - 1];
    let centre = [without_noise, nearer_to_apet][number - 1];
    let (figures, falls) =
        model_cells.estimates(name, |by_task| over_tasks(by_task, of), centre, |x| x);
    falling(number, figures, model_cells.ends(), falls)
}

/// A model with single runs tells nothing of seeds, and a task that not every model has nothing of scale.
#[test]
fn what_can_be_compared_is_compared() {
    let mut cells = study([0.1, 0.0, 0.1]);
    for cell in &mut cells[2] {
        *cell = MethodCell::new(cell.key.clone(), cell.count, vec![cell.scores[0]]);
    }
    let mut model_cells = models(cells);
    let found = answer(&model_cells, 1);
    assert_eq!(found.verdict, Verdict::Supported, "{found:?}");
    assert!(
        found.reason.starts_with("From m0 to m1 "),
        "{}",
        found.reason
    );
    assert_eq!(found.figures.len(), 3);
    let other = cells_of_task(study([0.3, 0.0])[0].clone());
    model_cells.models[0].1.insert("u".into(), other);
    let tasks: Vec<_> = model_cells
        .common()
        .models
        .iter()
        .map(|(_, tasks)| tasks.len())
        .collect();
    assert_eq!(tasks, [1, 1, 1]);
    assert_eq!(answer(&model_cells.common(), 1), found);
    assert_ne!(answer(&model_cells, 1), found);
}

#[test]
fn a_difference_beyond_the_noise_is_found_on_either_side() {
    for number in [1, 2] {
        let wide = answer(&models(study([0.1, 0.0])), number);
        assert_eq!(wide.verdict, Verdict::Supported, "{wide:?}");
        let other = answer(&models(study([0.0, 0.1])), number);
        assert_eq!(other.verdict, Verdict::NotSupported, "{other:?}");
        let none = answer(&models(study([0.1, 0.1])), number);
        assert_eq!(none.verdict, Verdict::Undecided, "{none:?}");
        let figure = &wide.figures[0];
        assert!(
            figure.low < figure.value && figure.value < figure.high,
            "{figure:?}"
        );
    }
}

#[test]
fn one_model_or_nothing_is_undecided() {
    for model_cells in [
        models(Vec::new()),
        models(study([0.1, 0.0])[..1].to_vec()),
        models(vec![Vec::new(), Vec::new()]),
    ] {
        let answer = answer(&model_cells, 1);
        assert_eq!(answer.verdict, Verdict::Undecided, "{answer:?}");
    }
    assert_eq!(
        similar(Vec::new(), &models(Vec::new())).verdict,
        Verdict::Undecided
    );
}

#[test]
fn single_runs_have_no_interval() {
    let mut cells = study([0.1, 0.0]);
    for cell in cells.iter_mut().flatten() {
        *cell = MethodCell::new(cell.key.clone(), cell.count, vec![cell.scores[0]]);
    }
    let answer = answer(&models(cells), 1);
    let figure = &answer.figures[0];
    assert!(figure.value.is_some());
    assert_eq!((figure.low, figure.high), (None, None));
    assert_eq!(answer.verdict, Verdict::Undecided);
    assert!(answer.reason.contains("m0"), "{}", answer.reason);
}

#[test]
fn the_same_study_has_the_same_answers() {
    let model_cells = models(study([0.1, 0.02]));
    assert_eq!(answer(&model_cells, 1), answer(&model_cells, 1));
}

/// The share of simulated studies whose interval has the truth in it.
#[test]
fn intervals_cover_the_truth() {
    let mut stream = Stream::new("coverage", 0);
    let centres = [0.6, 0.65, 0.7, 0.8];
    let truth = spread(&centres.map(|c| (c, 1.0)), 0.0).unwrap();
    let mut covered = 0;
    for _ in 0..60 {
        let cells = centres.iter().enumerate().map(|(at, centre)| {
            let scores: Vec<f64> = (0..5).map(|_| centre + 0.02 * stream.normal()).collect();
            cell(MethodKey::Other(format!("p{at}")), 1, &scores)
        });
        let model_cells = models(vec![cells.collect()]);
        let answer = answer(&model_cells, 1);
        let figure = &answer.figures[0];
        covered += usize::from(figure.low <= Some(truth) && Some(truth) <= figure.high);
    }
    assert!((52..=60).contains(&covered), "{covered} of 60");
}

/// Many scores of a cell are drawn by their mean and their squares alone: with the spread that single scores would give.
#[test]
fn many_scores_have_the_interval_of_their_number() {
    let cells = |runs: usize| {
        let scores = |centre: f64| {
            let at = |n: usize| centre + if n.is_multiple_of(2) { 0.05 } else { -0.05 };
            (0..runs).map(at).collect::<Vec<f64>>()
        };
        let of = |name: &str, centre: f64| {
            MethodCell::new(MethodKey::Other(name.into()), 1000, scores(centre))
        };
        vec![of("a", 0.6), of("b", 0.7)]
    };
    // The distance between two means varies with the root of 2 / n, and the spread is its share of 1 / sqrt(2).
    for runs in [8, 20, 40, 400, 4000] {
        let answer = answer(&models(vec![cells(runs), cells(runs)]), 1);
        let figure = &answer.figures[0];
        let (low, high) = (figure.low.unwrap(), figure.high.unwrap());
        let expected = 2.0 * 1.96 * 0.05 / (runs as f64).sqrt();
        let ratio = (high - low) / expected;
        assert!(
            (0.8..1.25).contains(&ratio),
            "{runs}: {low} to {high}, expected {expected}"
        );
    }
}
