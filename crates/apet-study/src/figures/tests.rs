use std::collections::BTreeSet;

use super::data::{FigureQuery, Scope};
use super::*;
use crate::fixture::Run;
use crate::records::entries::Study;

/// Two models, one task, full fine-tuning, the head alone and APET at three counts, with three seeds each.
fn study() -> Study {
    let mut study = Study::new();
    for (model, gain) in [("small", 0.0), ("large", 0.05)] {
        for seed in [1, 2, 3] {
            for (method, count, score) in [
                ("full", 22_000_000, 0.85),
                ("head", 0, 0.55),
                ("apet", 100, 0.6),
                ("apet", 1000, 0.7),
                ("apet", 10_000, 0.8),
                ("apet", 100_000, 0.86),
            ] {
                let run = Run {
                    model,
                    method,
                    count,
                    seed,
                    dev: Some(score),
                    test: Some(score + gain + 0.01 * seed as f64),
                    ..Run::default()
                };
                study.add("x", &run.text()).unwrap();
            }
        }
    }
    study
}

/// Every file of the folder is a figure of the registry, but for those that figures share.
#[test]
fn every_file_is_registered() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/figures");
    let files = std::fs::read_dir(folder).unwrap().count();
    let shared = ["claim.rs", "data.rs", "text.rs", "tests.rs"];
    assert_eq!(files, FIGURES.len() + shared.len());
    let ids: BTreeSet<&str> = FIGURES.iter().map(|figure| figure.id).collect();
    assert_eq!(ids.len(), FIGURES.len());
    assert!(ids.iter().all(|id| figure(id).unwrap().id == *id));
    assert!(figure("nothing").is_none());
}

/// Figures without runs are empty, and have no text but for the verdicts of the claims.
#[test]
fn no_runs_give_no_points() {
    for figure in FIGURES {
        let data = figure.data(&Study::new(), &FigureQuery::default());
        assert!(data.content.series.is_empty(), "{}", figure.id);
        let text = &data.content.text;
        assert!(text.is_empty() || text.starts_with("\n## Claim "), "{text}");
    }
}

/// What is drawn leads back to records that are there, and is finite.
#[test]
fn points_lead_back_to_runs() {
    let study = study();
    let keys: BTreeSet<String> = study.rows().into_iter().map(|row| row.key).collect();
    let query = FigureQuery {
        task: Some("sst2".into()),
        ..FigureQuery::default()
    };
    let mut drawn = BTreeSet::new();
    for figure in FIGURES {
        let content = figure.data(&study, &query).content;
        for point in content.series.iter().flat_map(|series| &series.points) {
            drawn.insert(figure.id);
            assert!(!point.runs.is_empty(), "{}", figure.id);
            assert!(
                point.runs.iter().all(|run| keys.contains(run)),
                "{}",
                figure.id
            );
            assert!(point.x.is_finite() && point.y.is_finite() && !point.label.is_empty());
            assert!(
                point.low.is_none_or(|low| low <= point.y + 1e-9),
                "{}",
                figure.id
            );
        }
    }
    for id in [
        "score",
        "differences",
        "thresholds",
        "full_tuning_count",
        "trade",
        "loss",
    ] {
        assert!(drawn.contains(id), "{id} has no points");
    }
}

/// A figure of a task or a model has those runs only, and says which it leaves out.
#[test]
fn a_query_chooses_runs() {
    let study = study();
    let query = FigureQuery {
        model: Some("small".into()),
        ..FigureQuery::default()
    };
    let scores = figure("score").unwrap().data(&study, &query).content;
    assert!(scores.series.iter().all(|series| series.colour == "small"));
    assert_eq!(scores.series.len(), 3);
    assert!(
        scores
            .references
            .iter()
            .any(|line| line.label == "full fine-tuning")
    );
    let other = FigureQuery {
        task: Some("rte".into()),
        ..query
    };
    for figure in FIGURES.iter().filter(|figure| figure.scope == Scope::Task) {
        assert!(figure.data(&study, &other).content.series.is_empty());
    }
}
