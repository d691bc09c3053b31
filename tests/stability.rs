//! What commit 325694f wrote stays valid: `tests/fixtures/stability` holds its run records, theta files,
//! checkpoints and peft adapters. The current binary must give the same run ids, positions, parameter counts,
//! initial values, losses and exports, resume the stored checkpoints, and accept the same command-line options.
//!
//! Numbers that floating-point arithmetic decides are compared exactly where the processor has the instruction set
//! of the one that wrote the fixtures, and within a relative 1e-5 elsewhere. Ids, counts, positions and initial
//! values are compared exactly everywhere, except where gradients choose the positions.
//!
//! `tests/fixtures/stability/make.sh` writes the fixtures; it needs the binary of that commit.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panic"
)]

#[path = "stability/home.rs"]
mod home;
#[path = "stability/record.rs"]
mod record;
#[path = "stability/table.rs"]
mod table;
#[path = "stability/write.rs"]
mod write;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::home::{Home, MODELS, imported, initial, reuse};
use crate::record::{counts, hash, recorded, tensors};
use crate::table::{Case, Table, assert_same, read_json, root, stored, write};

/// Does something for every case, on as many threads as there are processors.
fn each<T: Sync>(cases: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(case);
                }
            });
        }
    });
}

/// Whether a spec's positions follow from gradients, and so from the processor.
fn by_gradient(case: &Case) -> bool {
    let by = &case.spec["method"]["select"]["by"];
    by == "gradient" || by == "snip"
}

#[test]
fn every_method_is_in_the_table() {
    let table = Table::read();
    let mut found: Vec<&str> = Vec::new();
    for case in &table.runs {
        let method = &case.spec["method"];
        found.extend(method["name"].as_str());
        found.extend(method["select"]["by"].as_str());
    }
    for name in [
        "apet",
        "lora",
        "prompt",
        "adapter",
        "ia3",
        "layer_norm",
        "bitfit",
        "head",
        "full",
        "combined",
        "rows",
        "columns",
        "diagonal",
        "magnitude",
        "gradient",
        "snip",
        "mask",
        "unit",
        "lora_scalar",
    ] {
        assert!(found.contains(&name), "{name}");
    }
    for model in MODELS {
        let of_model = table.runs.iter().any(|case| case.spec["model"] == model);
        assert!(of_model, "{model}");
    }
}

#[test]
fn reruns_give_the_same_ids_positions_and_losses() {
    let (table, home) = (Table::read(), Home::new());
    let exact = table.is_exact();
    each(&table.runs, |case| {
        let (name, expected) = (&case.name, &case.expected);
        let result = home.run(name, &case.spec, &[]);
        let header = &result["header"];
        assert_eq!(header["run"], expected.run, "{name}");
        let mut counts = counts(header);
        if by_gradient(case) && !exact {
            counts
                .positions_hash
                .clone_from(&expected.counts.positions_hash);
        }
        assert_eq!(counts, expected.counts, "{name}");
        let recorded = recorded(&home.run_file(&expected.run, "jsonl"));
        let flat = |pairs: &[[f64; 2]]| pairs.concat();
        assert_same(
            &format!("{name}: loss"),
            &recorded.losses,
            &expected.losses,
            exact,
        );
        if exact {
            let found = flat(&recorded.evaluations);
            let what = format!("{name}: evaluation");
            assert_same(&what, &found, &flat(&expected.evaluations), exact);
            let what = format!("{name}: landscape");
            assert_same(&what, &recorded.landscape, &expected.landscape, exact);
            let theta = tensors(&home.run_file(&expected.run, "theta.safetensors"));
            assert_eq!(theta, expected.theta, "{name}: theta");
        }
    });
}

#[test]
fn initial_values_are_the_same() {
    let (table, home) = (Table::read(), Home::new());
    let exact = table.is_exact();
    each(&table.runs, |case| {
        if exact || !by_gradient(case) {
            let found = initial(&home, &case.name, &case.spec);
            assert_eq!(found, case.expected.initial, "{}", case.name);
        }
    });
}

#[test]
fn stored_records_are_opened_and_left_as_they_are() {
    let (table, home) = (Table::read(), Home::new());
    each(&table.runs, |case| {
        let (name, run) = (&case.name, &case.expected.run);
        home.copy_stored(run);
        let files = ["jsonl", "theta.safetensors"].map(|kind| home.run_file(run, kind));
        let before = files.each_ref().map(|file| hash(file));
        let result = home.run(name, &case.spec, &[]);
        assert_eq!(result["header"]["run"], *run, "{name}");
        assert_eq!(counts(&result["header"]), case.expected.counts, "{name}");
        let text = fs::read_to_string(&files[0]).unwrap();
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        for (part, stored, names) in [
            (
                "/header",
                &first,
                &["/spec", "/model/weights_hash", "/task/data_hash"][..],
            ),
            (
                "/summary",
                &last,
                &["/status", "/steps", "/best_step", "/dev", "/test"],
            ),
        ] {
            for name in names {
                let found = result.pointer(&format!("{part}{name}"));
                assert!(found.is_some(), "{name} of {run}");
                assert_eq!(found, stored.pointer(name), "{name} of {run}");
            }
        }
        let after = files.each_ref().map(|file| hash(file));
        assert_eq!(after, before, "{name}: a done run is not repeated");
    });
}

#[test]
fn stored_thetas_are_read_merged_and_exported() {
    let (table, home) = (Table::read(), Home::new());
    let exact = table.is_exact();
    each(&table.runs, |case| {
        let theta = home.copy_stored(&case.expected.run);
        assert_eq!(tensors(&theta), case.expected.theta, "{}", case.name);
        if by_gradient(case) && !exact {
            return;
        }
        let mut found = case.expected.clone();
        reuse(&home, &case.name, &case.spec, &theta, &mut found);
        if !exact {
            // The products of low-rank factors differ in their last bits.
            found.merged.clone_from(&case.expected.merged);
        }
        assert_eq!(found, case.expected, "{}", case.name);
    });
    let adapters = table.runs.iter().filter(|c| c.expected.peft.is_some());
    assert!(adapters.count() >= 10, "few peft adapters");
}

#[test]
fn stored_adapters_of_peft_are_imported() {
    let (table, home) = (Table::read(), Home::new());
    let folder = |case: &Case| stored(&format!("peft/{}", case.name));
    let with = table.runs.into_iter().filter(|case| folder(case).is_dir());
    let with: Vec<Case> = with.collect();
    assert!(with.len() >= 9, "{} adapters", with.len());
    each(&with, |case| {
        let folder = folder(case);
        let files = case.expected.peft.iter().flatten();
        for (file, stored) in files {
            assert_eq!(hash(&folder.join(file)), *stored, "{} {file}", case.name);
        }
        let found = imported(&home, &case.name, &case.spec, &folder);
        assert_eq!(Some(found), case.expected.imported, "{}", case.name);
    });
}

#[test]
fn reference_values_of_other_programs_are_unchanged() {
    let stored: BTreeMap<String, String> = read_json(&stored("references.json"));
    assert!(stored.len() > 100);
    for (file, stored) in stored {
        let found = hash(&root().join("tests/fixtures").join(&file));
        assert_eq!(found, stored, "{file}");
    }
}

#[test]
fn stored_checkpoints_resume() {
    let (table, home) = (Table::read(), Home::new());
    assert!(table.interrupted.len() >= 2);
    each(&table.interrupted, |case| {
        let run = &case.run;
        for kind in ["jsonl", "checkpoint.safetensors"] {
            let from = stored(&format!("interrupted/{run}-cpu.{kind}"));
            write(&home.run_file(run, kind), fs::read(from).unwrap());
        }
        let result: Value =
            serde_json::from_str(&home.succeeds(&["run", "--resume", run, "--json"])).unwrap();
        assert_eq!(result["header"]["run"], *run);
        assert_eq!(result["summary"]["status"], "done", "{run}");
        let record = home.run_file(run, "jsonl");
        let resumed = fs::read_to_string(&record).unwrap();
        let note = resumed.lines().filter(|line| line.contains("\"note\""));
        let note: Vec<Value> = note.map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            note[0]["step"], case.step,
            "{run}: it resumes, and does not begin again"
        );
        let exact = table.is_exact();
        assert_same(run, &recorded(&record).losses, &case.losses, exact);
        if exact {
            let theta = tensors(&home.run_file(run, "theta.safetensors"));
            assert_eq!(theta, case.theta, "{run}");
        }
    });
}

#[test]
fn options_keep_their_spellings() {
    let stored: BTreeMap<String, Vec<String>> = read_json(&stored("options.json"));
    let home = Home::new();
    assert!(stored.values().flatten().count() > 180);
    for (command, options) in &stored {
        for option in options {
            // The second option is unknown, so the command does nothing.
            let error = home.output(&[command, option, "--no-such-option"]);
            let error = error
                .err()
                .unwrap_or_else(|| panic!("{command} {option} succeeds"));
            let unknown = format!("unexpected argument '{option}'");
            assert!(!error.contains(&unknown), "{command} {option}: {error}");
            assert!(!error.contains("unrecognized subcommand"), "{error}");
        }
    }
}
