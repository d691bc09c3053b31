//! A planned study: workers that are many, killed, suspended; what it refuses; how far it is.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails where its preparation does"
)]

mod place;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use apet_record::{Line, RunRecord, RunSpec};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use place::Place;
use serde_json::Value;
use told::told;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");

/// Ten runs: two rates of LoRA with one seed, then LoRA and APET at two placements with two seeds; and the head.
const STUDY: &str = r#"
name = "small"
about = "Ten runs."
models = ["bert-tiny"]
seeds = [1, 2]
placements = [3, 4]
train = { steps = 4, batch_size = 4, eval_every = 2, checkpoint_every = 1 }
tune = { seeds = [9] }

[[task]]
name = "sst2"
max_length = 16

[[method]]
name = "lora"
rank = 1
learning_rate = [1e-3, 1e-2]

[[method]]
name = "apet"
counts = [50]
learning_rate = 1e-2

[[method]]
name = "head"
learning_rate = 1e-2
"#;

impl Place {
    /// What a command says that does not.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.apet(words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A store with a small model, and a task.
    fn with_model() -> Self {
        let place = Self::new();
        place.said(&["fetch", &format!("{FIXTURES}/bert-tiny")]);
        let task = place.path("data/sst2");
        fs::create_dir_all(&task).unwrap();
        fs::copy(
            format!("{FIXTURES}/tasks/sst2.jsonl"),
            task.join("train.jsonl"),
        )
        .unwrap();
        place
    }

    /// Plans a study in `study`.
    fn planned(text: &str) -> Self {
        let place = Self::with_model();
        fs::write(place.path("small.toml"), text).unwrap();
        place.said(&["plan", "small.toml", "-o", "study", "--data", "data"]);
        place
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.said(&["status", "study", "--json"])).unwrap()
    }

    fn worker(&self, words: &[&str]) -> Child {
        let mut command = self.command(&["run", "--study", "study", "--lease", "1"]);
        command.args(words).stdout(Stdio::null()).spawn().unwrap()
    }

    fn read(&self) -> Vec<RunRecord> {
        self.records("study/runs")
            .iter()
            .map(|path| record(path))
            .collect()
    }

    /// A worker's own folder, once it has a checkpoint there.
    fn begun(&self) -> PathBuf {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            for run in folders(&self.path("study/work")) {
                for own in folders(&run) {
                    let files = fs::read_dir(&own).unwrap().flatten();
                    // Not one that is being written, whose name begins with a dot.
                    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
                    let is_whole = |name: String| {
                        !name.starts_with('.') && name.ends_with(".checkpoint.safetensors")
                    };
                    if names.into_iter().any(is_whole) {
                        return own;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("no worker came to a checkpoint");
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

/// A Parquet file's rows, by column.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let table = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let text = |field: &Field| match field {
        Field::Str(text) => text.clone(),
        other => other.to_string(),
    };
    let rows = table.get_row_iter(None).unwrap().map(Result::unwrap);
    let row = |row: parquet::record::Row| {
        let columns = row.get_column_iter();
        columns
            .map(|(name, field)| (name.clone(), text(field)))
            .collect()
    };
    rows.map(row).collect()
}

/// `Summary.Value` as protobuf has it: field 1 a text, field 2 a float.
fn scalar(tag: &str, value: f64) -> Vec<u8> {
    let value = (value as f32).to_le_bytes();
    [&[0x0a, tag.len() as u8], tag.as_bytes(), &[0x15], &value].concat()
}

fn record(path: &Path) -> RunRecord {
    let text = fs::read_to_string(path).unwrap();
    RunRecord::parse(&text).unwrap().pop().unwrap()
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_study_is_planned_made_once_and_told() {
    let place = Place::with_model();
    fs::write(place.path("small.toml"), STUDY).unwrap();
    let plan = place.said(&["plan", "small.toml", "-o", "study", "--data", "data"]);
    assert!(plan.contains("tune: 2 runs, numbers 0..2"), "{plan}");
    assert!(plan.contains("main: 8 runs, numbers 2..10"), "{plan}");
    assert!(plan.contains("10 runs, at most "), "{plan}");
    // Run 2 takes the better of two rates, which is not known yet.
    let waits = place.refused(&["run", "--study", "study", "--index", "2"]);
    assert!(
        waits.contains("run 2 takes its learning rate from runs [0, 1], which are not done"),
        "{waits}"
    );
    let status = place.status();
    assert_eq!(status["all"]["open"], 8, "{status}");
    assert_eq!(status["stages"]["main"]["waiting"], 2, "{status}");

    let said = place.said(&["run", "--study", "study"]);
    assert!(said.contains("10 runs made, 0 failed"), "{said}");
    let records = place.read();
    let runs: BTreeSet<&str> = records.iter().map(|r| &r.header.run[..]).collect();
    assert_eq!(runs.len(), 10);
    assert_eq!(place.status()["all"]["done"], 10);
    assert_eq!(folders(&place.path("study/work")).len(), 0);
    let thetas = fs::read_dir(place.path("study/thetas")).unwrap().count();
    assert_eq!(thetas, 10);

    // The rate is the one with the better dev score; of equal ones the smaller.
    let of = |seed: u64| {
        let own = records
            .iter()
            .filter(move |r| r.header.spec.seeds.init == seed);
        own.filter(|r| r.header.spec.method.name() == "lora")
    };
    let rate = |record: &RunRecord| record.header.spec.optimizer.learning_rate;
    let tried: Vec<_> = of(9)
        .map(|r| (r.summary().unwrap().dev.unwrap(), rate(r)))
        .collect();
    assert_eq!(tried.len(), 2);
    let best = tried
        .iter()
        .copied()
        .reduce(|a, b| if (b.0, -b.1) > (a.0, -a.1) { b } else { a });
    for seed in [1, 2] {
        let rates: Vec<f64> = of(seed).map(rate).collect();
        assert_eq!(rates, [best.unwrap().1]);
    }
    // Placements are crossed with seeds, for APET alone.
    let apet = records
        .iter()
        .filter(|r| r.header.spec.method.name() == "apet");
    let seeds: BTreeSet<_> = apet
        .map(|r| (r.header.spec.seeds.placement, r.header.spec.seeds.init))
        .collect();
    assert_eq!(seeds, [(3, 1), (3, 2), (4, 1), (4, 2)].into());

    // Nothing is made twice; a run of the study is the run that its spec describes.
    let again = place.said(&["run", "--study", "study"]);
    assert!(again.contains("0 runs made, 0 failed"), "{again}");
    let before = place.said(&["run", "--study", "study", "--index", "4"]);
    assert!(before.contains("run 4 was done before"), "{before}");
    let spec: &RunSpec = &records[0].header.spec;
    fs::write(
        place.path("spec.json"),
        serde_json::to_string(spec).unwrap(),
    )
    .unwrap();
    place.said(&["run", "--spec", "spec.json", "--data", "data/sst2"]);
    let alone = record(&place.path(&format!("store/runs/{}-cpu.jsonl", spec.id())));
    assert_eq!(told(&alone), told(&records[0]));

    // More seeds: what is there stays.
    fs::write(
        place.path("small.toml"),
        STUDY.replace("[1, 2]", "[1, 2, 5]"),
    )
    .unwrap();
    place.said(&["plan", "small.toml", "-o", "study", "--data", "data"]);
    let more = place.said(&["run", "--study", "study"]);
    assert!(more.contains("4 runs made, 0 failed"), "{more}");
}

#[test]
fn a_study_is_one_archive_that_comes_back() {
    let place = Place::planned(STUDY);
    place.said(&["run", "--study", "study"]);
    let said = place.said(&["collect", "study", "-o", "study.zip"]);
    assert!(said.contains("study.zip: 10 of 10 runs"), "{said}");
    let file = fs::File::open(place.path("study.zip")).unwrap();
    let archive = zip::ZipArchive::new(file).unwrap();
    let with = |start: &str| {
        archive
            .file_names()
            .filter(|n| n.as_ref().is_ok_and(|n| n.starts_with(start)))
            .count()
    };
    assert_eq!(
        [
            with("runs/"),
            with("thetas/"),
            with("report.md"),
            with("study.toml")
        ],
        [10, 10, 1, 1]
    );

    let said = place.said(&["import", "study.zip"]);
    assert!(
        said.contains("10 runs came into the store, 0 were there"),
        "{said}"
    );
    for path in place.records("study/runs") {
        let run = record(&path).header.run;
        let kept = place.path(&format!("store/runs/{run}-cpu"));
        let kept = |ending: &str| fs::read(format!("{}.{ending}", kept.display())).unwrap();
        assert_eq!(kept("jsonl"), fs::read(&path).unwrap());
        let theta = place.path(&format!("study/thetas/{run}.safetensors"));
        assert_eq!(kept("theta.safetensors"), fs::read(theta).unwrap());
    }
    let said = place.said(&["import", "study.zip"]);
    assert!(
        said.contains("0 runs came into the store, 10 were there"),
        "{said}"
    );
    // Beside another study they are runs like any other's.
    let both = place.said(&["report", "study", "--with", "study.zip"]);
    assert!(
        both.contains("| bert-tiny | 108,224 | lora | 512 |"),
        "{both}"
    );

    for (name, bytes, expected) in [
        (
            "empty.zip",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            "found no record, expected runs/*.jsonl",
        ),
        (
            "no.zip",
            b"nothing".to_vec(),
            "expected an archive of runs (zip)",
        ),
    ] {
        fs::write(place.path(name), bytes).unwrap();
        let wrong = place.refused(&["import", name]);
        assert!(wrong.contains(expected), "{wrong}");
    }
    let mut zip = zip::ZipWriter::new(fs::File::create(place.path("bad.zip")).unwrap());
    let text = fs::read_to_string(&place.records("study/runs")[0]).unwrap();
    let bad = text.replacen(
        &record(&place.records("study/runs")[0]).header.run,
        "../../out",
        1,
    );
    zip.start_file("runs/x.jsonl", zip::write::SimpleFileOptions::default())
        .unwrap();
    std::io::Write::write_all(&mut zip, bad.as_bytes()).unwrap();
    zip.finish().unwrap();
    let wrong = place.refused(&["import", "bad.zip"]);
    assert!(wrong.contains("../../out"), "{wrong}");
    assert!(!place.path("out-cpu.jsonl").exists());
}

#[test]
fn a_study_is_one_table_and_one_report() {
    let place = Place::planned(STUDY);
    place.said(&["run", "--study", "study", "--index", "0"]);
    let early = place.said(&["report", "study"]);
    assert!(
        early.contains("9 of 10 runs are not done: 1, 2, 3"),
        "{early}"
    );
    place.said(&["run", "--study", "study"]);
    let records = place.read();

    let said = place.said(&["collect", "study", "-o", "runs.csv"]);
    assert!(said.contains("runs.csv: 10 of 10 runs"), "{said}");
    let text = fs::read_to_string(place.path("runs.csv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = header
        .iter()
        .position(|name| *name == "learning_rate")
        .unwrap();
    let rates: Vec<f64> = lines
        .map(|line| line.split(',').nth(at).unwrap().parse().unwrap())
        .collect();
    let expected: Vec<f64> = records
        .iter()
        .map(|r| r.header.spec.optimizer.learning_rate)
        .collect();
    assert_eq!(rates, expected);

    place.said(&["collect", "study", "-o", "runs.parquet"]);
    let table = rows(&place.path("runs.parquet"));
    assert_eq!(table.len(), 10);
    for (row, record) in table.iter().zip(&records) {
        assert_eq!(row.len(), header.len());
        let summary = record.summary().unwrap();
        assert_eq!(row["run"], record.header.run);
        assert_eq!(row["test"].parse::<f64>().unwrap(), summary.test.unwrap());
        assert_eq!(row["steps"], "4");
        assert_eq!(
            RunSpec::from_json(&row["spec"]).unwrap(),
            record.header.spec
        );
    }
    // Other runs for comparison.
    let fixtures = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/method_comparison"
    );
    let lora = format!("{fixtures}/lora--llama-3.2-3B-rank32.json");
    let said = place.said(&["collect", "study", "-o", "all.parquet", "--with", &lora]);
    assert!(said.contains("all.parquet: 1 others\n"), "{said}");
    let twice = [
        "collect",
        "study",
        "-o",
        "twice.csv",
        "--with",
        "study/runs",
    ];
    let said = place.said(&twice);
    assert!(said.contains("0 others, 10 were there already"), "{said}");
    let table = rows(&place.path("all.parquet"));
    let theirs = &table[10];
    assert_eq!(
        (table.len(), &theirs["model"][..]),
        (11, "meta-llama/Llama-3.2-3B")
    );
    assert_eq!(
        (&theirs["method"][..], &theirs["trainable_parameters"][..]),
        ("lora", "9175040")
    );
    let report = place.said(&["report", "study", "--with", &lora]);
    assert!(report.contains("47.8"), "{report}");
    let wrong = place.refused(&["report", "study", "--with", fixtures]);
    assert!(
        wrong.contains("image-gen.json: result of peft's method comparison: train_info.metrics[0]"),
        "{wrong}"
    );

    let wrong = place.refused(&["collect", "study", "-o", "runs.txt"]);
    assert!(
        wrong.contains("-o runs.txt: expected a name that ends with .parquet, .csv or .zip"),
        "{wrong}"
    );

    let said = place.said(&["collect", "study", "--tensorboard", "logs"]);
    assert!(said.contains("logs: 10 of 10 runs"), "{said}");
    assert_eq!(folders(&place.path("logs")).len(), 10);
    for record in &records {
        let folders = folders(&place.path("logs"));
        let is_its = |folder: &&PathBuf| folder.to_string_lossy().ends_with(&record.header.run);
        let folder = folders.iter().find(is_its).unwrap();
        let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        let bytes = fs::read(file.path()).unwrap();
        for step in record.steps() {
            let scalar = scalar("train/loss", step.loss);
            assert!(bytes.windows(scalar.len()).any(|part| part == scalar));
        }
        let test = scalar("test/accuracy", record.summary().unwrap().test.unwrap());
        assert!(bytes.windows(test.len()).any(|part| part == test));
    }

    place.said(&["collect", "study", "--trackio", "site"]);
    let runs = fs::read(place.path("site/runs.json")).unwrap();
    let runs: Vec<Value> = serde_json::from_slice(&runs).unwrap();
    let expected: Vec<&str> = records.iter().map(|r| &r.header.run[..]).collect();
    let found: Vec<&str> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(found, expected);
    let rows = rows(&place.path("site/metrics.parquet"));
    let lines = runs.iter().map(|run| run["log_count"].as_u64().unwrap());
    assert_eq!(rows.len() as u64, lines.sum::<u64>());
    let steps = records.iter().flat_map(|record| record.steps());
    let losses: Vec<String> = steps
        .map(|step| Field::Double(step.loss).to_string())
        .collect();
    let found = rows.iter().filter_map(|row| row.get("train/loss").cloned());
    assert_eq!(
        found.filter(|loss| loss != "null").collect::<Vec<_>>(),
        losses
    );
    assert!(
        rows.iter()
            .all(|row| expected.contains(&&row["run_id"][..]))
    );

    place.said(&["report", "study", "-o", "report.md"]);
    let report = fs::read_to_string(place.path("report.md")).unwrap();
    assert!(!report.contains("## Missing"), "{report}");
    assert_eq!(report.matches("\n## Claim ").count(), 4);
    // Those that chose the rates are not among the scores: two seeds of each method, and APET at two placements.
    let scores: Vec<&str> = report
        .lines()
        .filter(|l| l.starts_with("| bert-tiny | "))
        .collect();
    assert!(
        scores
            .iter()
            .any(|row| row.contains("| lora | ") && row.ends_with("| 2 |")),
        "{report}"
    );
    assert!(
        !scores
            .iter()
            .any(|row| row.ends_with("| 1 |") || row.ends_with("| 3 |")),
        "{report}"
    );
    place.said(&["report", "study", "-o", "report.html"]);
    let page = fs::read_to_string(place.path("report.html")).unwrap();
    assert!(
        page.contains("{\"about\":\"Ten runs.\"") && !page.contains("STUDY"),
        "the study is inside"
    );
    let wrong = place.refused(&["report", "study", "-o", "report.pdf"]);
    assert!(
        wrong.contains("-o: found the ending .pdf, expected .html or .md"),
        "{wrong}"
    );
    // One of another version is refused,
    let other = place.records("study/runs").pop().unwrap();
    let whole = fs::read_to_string(&other).unwrap();
    let newer = whole.replacen("\"record\":\"1.1\"", "\"record\":\"2.0\"", 1);
    assert_ne!(newer, whole);
    fs::write(&other, newer).unwrap();
    for words in [
        ["collect", "study", "-o", "runs.csv"],
        ["report", "study", "-o", "report.md"],
    ] {
        let refused = place.refused(&words);
        let name = other.file_name().unwrap().to_string_lossy();
        assert!(
            refused.contains(&*name) && refused.contains("record version \"2.0\""),
            "{refused}"
        );
    }
    fs::write(&other, whole).unwrap();
    // A record that was spoilt is named, and nothing is written over.
    let spoilt = place.records("study/runs").pop().unwrap();
    fs::write(&spoilt, "{}\n").unwrap();
    let refused = place.refused(&["collect", "study", "-o", "runs.csv"]);
    assert!(refused.contains("line 1: no field \"kind\""), "{refused}");
    assert_eq!(fs::read_to_string(place.path("runs.csv")).unwrap(), text);
}

#[test]
fn a_scheduler_says_which_run() {
    let place = Place::planned(STUDY);
    for (variable, first, run) in [
        ("SLURM_ARRAY_TASK_ID", "0", "0"),
        ("HQ_TASK_ID", "1", "0"),
        ("JOB_COMPLETION_INDEX", "2", "1"),
    ] {
        let mut command = place.command(&["run", "--study", "study", "--index-offset", first]);
        let output = command.env(variable, run).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let number: usize = first.parse::<usize>().unwrap() + run.parse::<usize>().unwrap();
        assert!(
            said.starts_with(&format!("run {number} is done: ")),
            "{variable}: {said}"
        );
    }
    let mut command = place.command(&["run", "--study", "study"]);
    let output = command.env("SLURM_ARRAY_TASK_ID", "x").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("SLURM_ARRAY_TASK_ID: found \"x\", expected a number from 0"),
        "{said}"
    );
    let beyond = place.refused(&["run", "--study", "study", "--index", "10"]);
    assert!(
        beyond.contains("--index: found 10, the study has runs 0 to 9"),
        "{beyond}"
    );
}

#[test]
fn workers_at_once_make_each_run_once() {
    let place = Place::planned(STUDY);
    let mut workers: Vec<Child> = (0..3).map(|_| place.worker(&[])).collect();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    let undisturbed = Place::planned(STUDY);
    undisturbed.said(&["run", "--study", "study", "--jobs", "2"]);
    let [found, expected] =
        [&place, &undisturbed].map(|p| p.read().iter().map(told).collect::<Vec<_>>());
    assert_eq!(found.len(), 10);
    assert_eq!(found, expected);
}

/// One run that takes some seconds.
fn long() -> String {
    let one = STUDY
        .replace("steps = 4", "steps = 600")
        .replace("[1, 2]", "[1]");
    let apet = one.find("[[method]]\nname = \"apet\"").unwrap();
    one[..apet]
        .replace("[1e-3, 1e-2]", "1e-3")
        .replace("tune = { seeds = [9] }\n", "")
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_from_its_last_step() {
    let place = Place::planned(&long());
    let mut worker = place.worker(&["--index", "0"]);
    place.begun();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(place.records("study/runs").len(), 0);
    assert_eq!(place.status()["all"]["begun"], 1);
    // It waits until the dead one's lease is old.
    assert!(place.worker(&["--index", "0"]).wait().unwrap().success());
    let [found] = &place.read()[..] else {
        panic!("one record")
    };
    let notes = found
        .lines
        .iter()
        .filter(|line| matches!(line, Line::Note(note) if note.text.contains("resumed")));
    assert_eq!(notes.count(), 1);
    let whole = Place::planned(&long());
    whole.said(&["run", "--study", "study"]);
    assert_eq!(told(found), told(&whole.read()[0]));
}

#[cfg(unix)]
#[test]
fn a_stopped_worker_keeps_what_it_has_and_a_suspended_one_harms_nothing() {
    let place = Place::planned(&long());
    let mut worker = place.worker(&["--index", "0"]);
    let own = place.begun();
    signal(&worker, "TERM");
    assert!(!worker.wait().unwrap().success());
    let run = folders(&place.path("study/work")).pop().unwrap();
    assert!(!run.join("lease").exists(), "the lease is given back");
    // It ends after the step it is in, and nothing is made twice.
    let left = fs::read_dir(&own)
        .unwrap()
        .flatten()
        .map(|file| file.path());
    let mut left = left.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    let stopped = record(&left.next().unwrap()).summary().unwrap().steps;
    assert!(stopped > 0, "it had begun");

    let mut suspended = place.worker(&["--index", "0"]);
    let until = Instant::now() + Duration::from_secs(60);
    while folders(&run).len() < 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&suspended, "STOP");
    assert!(place.worker(&["--index", "0"]).wait().unwrap().success());
    let path = place.records("study/runs").pop().unwrap();
    let before = fs::read(&path).unwrap();
    signal(&suspended, "CONT");
    assert!(suspended.wait().unwrap().success());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(place.records("study/runs").len(), 1);
    let on = format!("resumed at step {stopped}");
    let went_on = |line: &Line| matches!(line, Line::Note(note) if note.text.starts_with(&on));
    assert!(record(&path).lines.iter().any(went_on), "{on}");
    let whole = Place::planned(&long());
    whole.said(&["run", "--study", "study"]);
    assert_eq!(told(&record(&path)), told(&whole.read()[0]));
}

#[test]
fn what_fails_is_told_by_cause_and_made_again() {
    let place = Place::planned(STUDY);
    let data = place.path("data/sst2/train.jsonl");
    let rows = fs::read(&data).unwrap();
    fs::write(&data, "not a row\n").unwrap();
    let said = place.refused(&["run", "--study", "study"]);
    assert!(said.contains("apet status says why"), "{said}");
    let status = place.status();
    let causes = status["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 1, "{status}");
    assert!(
        causes[0]["error"]
            .as_str()
            .unwrap()
            .contains("train.jsonl: line 1: bad JSON")
    );
    let failed = causes[0]["runs"].as_array().unwrap().len();
    assert_eq!((failed, &status["all"]["failed"]), (8, &Value::from(8)));
    assert_eq!(status["all"]["waiting"], 2);
    fs::write(&data, rows).unwrap();
    place.said(&["retry", "study", "--index", "0"]);
    assert_eq!(place.status()["all"]["failed"], 7);
    let none = place.refused(&["retry", "study", "--index", "0"]);
    assert!(none.contains("run 0 has not failed"), "{none}");
    place.said(&["retry", "study"]);
    place.said(&["run", "--study", "study"]);
    let status = place.status();
    assert_eq!(status["all"]["done"], 10, "{status}");
    assert_eq!(status["causes"].as_array().unwrap().len(), 0);
}

#[test]
fn wrong_studies_are_refused_in_one_sentence_and_nothing_is_written() {
    let place = Place::with_model();
    let plan = ["plan", "small.toml", "-o", "study", "--data", "data"];
    for (from, to, expected) in [
        (
            "seeds = [1",
            "seed = [1",
            "small.toml: line 5: unknown field `seed`",
        ),
        ("rank = 1", "rank = 0", "small.toml: method.rank: found 0"),
        ("\"bert-tiny\"", "\"bert-teeny\"", "bert-teeny"),
        (
            "\"sst2\"",
            "\"sst3\"",
            "task[0]: found no task \"sst3\" in the store or in ",
        ),
        (
            "counts = [50]",
            "counts = [99999999]",
            "bert-tiny on sst2, apet",
        ),
        (
            "seeds = [1, 2]",
            "seeds = []",
            "seeds: found none, expected at least one",
        ),
        (
            "[1e-3, 1e-2]",
            "[1e-3, -1]",
            "method[0].learning_rate: found -1",
        ),
        ("tune = { seeds = [9] }", "", "tune.seeds: found none"),
        (
            "max_length = 16",
            "max_length = 16\nmetric = \"bleu\"",
            "task.metric: found \"bleu\"",
        ),
    ] {
        assert!(STUDY.contains(from));
        fs::write(place.path("small.toml"), STUDY.replace(from, to)).unwrap();
        let said = place.refused(&plan);
        assert!(said.contains(expected), "{to}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(!place.path("study").exists(), "{to}");
    }
    let missing = place.refused(&["status", "study"]);
    assert!(
        missing.contains("study: found no plan.json, expected the folder of a study"),
        "{missing}"
    );
    fs::write(place.path("small.toml"), STUDY).unwrap();
    place.said(&plan);
    // Another study in the same folder, a folder of something else, a grid that was changed.
    fs::write(
        place.path("other.toml"),
        STUDY.replace("\"small\"", "\"other\""),
    )
    .unwrap();
    let other = place.refused(&["plan", "other.toml", "-o", "study", "--data", "data"]);
    assert!(
        other.contains("study: found the study \"small\", expected \"other\""),
        "{other}"
    );
    let full = place.refused(&["plan", "small.toml", "-o", "data", "--data", "data"]);
    assert!(
        full.contains("data: found files and no plan.json"),
        "{full}"
    );
    fs::write(
        place.path("study/study.toml"),
        STUDY.replace("[1, 2]", "[1]"),
    )
    .unwrap();
    let changed = place.refused(&["status", "study"]);
    assert!(
        changed.contains("was changed since it was planned"),
        "{changed}"
    );
}

#[test]
fn a_scheduler_gets_the_open_runs_stage_by_stage() {
    let place = Place::planned(STUDY);
    place.said(&["run", "--study", "study", "--index", "1"]);
    place.said(&["run", "--study", "study", "--index", "4"]);
    let with = [
        "--minutes",
        "30",
        "--throttle",
        "5",
        "--with=--partition=main",
    ];
    let submit = ["submit", "study", "--dry-run", "--to"];
    let slurm = place.said(&[&submit[..], &["slurm"], &with[..]].concat());
    let jobs: Vec<&str> = slurm.split("# sbatch ").skip(1).collect();
    assert_eq!(jobs.len(), 2, "{slurm}");
    for (job, lines) in jobs.iter().zip([
        [
            "--job-name=apet-small-tune",
            "--array=0%5",
            "--index-offset 0",
        ],
        [
            "--job-name=apet-small-main",
            "--array=0-1,3-7%5",
            "--index-offset 2",
        ],
    ]) {
        for line in lines.into_iter().chain([
            "--time=30",
            "--requeue",
            "--partition=main",
            "--signal=B:TERM@60",
        ]) {
            assert!(job.contains(line), "{line}: {job}");
        }
        assert!(!job.contains("--gres"), "{job}");
    }
    assert!(
        jobs[1].starts_with("--dependency=afterany:JOB-0 "),
        "{slurm}"
    );
    let gpu = place.said(&[&submit[..], &["slurm", "--device", "vulkan:0"]].concat());
    assert_eq!(gpu.matches("#SBATCH --gres=gpu:1").count(), 2, "{gpu}");
    let hq = place.said(&[&submit[..], &["hq"], &with[..]].concat());
    let jobs: Vec<&str> = hq
        .lines()
        .filter(|line| line.starts_with("hq submit "))
        .collect();
    assert_eq!(jobs.len(), 2, "{hq}");
    assert!(
        jobs[0].contains("--array 0 ") && jobs[0].contains(" --wait "),
        "{hq}"
    );
    assert!(
        jobs[1].contains("--array 0-1,3-7 ") && !jobs[1].contains(" --wait "),
        "{hq}"
    );
    let mut command = place.command(&["submit", "study", "--to", "slurm"]);
    let output = command.env("PATH", place.path("nowhere")).output().unwrap();
    let none = String::from_utf8(output.stderr).unwrap();
    assert!(none.contains("sbatch cannot be started"), "{none}");
    place.said(&["submit", "study", "--to", "local", "--throttle", "2"]);
    assert_eq!(place.status()["all"]["done"], 10);
    let done = place.refused(&[&submit[..], &["slurm"]].concat());
    assert!(done.contains("nothing to submit"), "{done}");
}
