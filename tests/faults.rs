//! Invalid input and interrupted runs, with the binary as a user runs it: a clear error of one sentence,
//! and no data is lost.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panic"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use apet_record::{RunRecord, Status};

/// A store with bert-tiny and a task of a few sentences.
struct Home {
    folder: tempfile::TempDir,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/bert-tiny")
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let model = home.path("models/bert-tiny");
        fs::create_dir_all(&model).unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            fs::copy(fixture().join(file), model.join(file)).unwrap();
        }
        let row = |i: usize| match i % 2 {
            0 => format!("the food was good and number {i} was great,1\n"),
            _ => format!("the film was bad and number {i} was awful,0\n"),
        };
        let rows = |range: std::ops::Range<usize>| {
            "text,label\n".to_owned() + &range.map(row).collect::<String>()
        };
        home.write("data/train.csv", rows(0..64));
        home.write("data/validation.csv", rows(100..116));
        home.write("data/test.csv", rows(200..216));
        home
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_apet"));
        command.args(words.split(' ').filter(|w| !w.is_empty()));
        command.env("APET_HOME", self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    /// A short `apet run` with bert-tiny on the task.
    fn run(&self, words: &str) -> Command {
        let mut command =
            self.command("run --model bert-tiny --task mine --batch-size 8 --max-length 16");
        command.args(words.split(' ').filter(|w| !w.is_empty()));
        command.arg("--data").arg(self.path("data"));
        command
    }

    fn record(&self) -> RunRecord {
        let files = fs::read_dir(self.path("runs")).unwrap().flatten();
        let path = files
            .map(|f| f.path())
            .find(|p| p.extension().is_some_and(|e| e == "jsonl"))
            .unwrap();
        RunRecord::parse(&fs::read_to_string(path).unwrap())
            .unwrap()
            .pop()
            .unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The error sentence of a failed command.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = text(&output);
    assert!(!output.status.success(), "expected a refusal: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let error = said.lines().find_map(|l| l.strip_prefix("error: "));
    error
        .unwrap_or_else(|| panic!("no error: {said}"))
        .to_owned()
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_run_leaves_a_record_a_theta_and_a_table() {
    let home = Home::new();
    let table =
        succeeds(&mut home.run("--count 300 --steps 20 --eval-every 10 --learning-rate 0.01"));
    assert!(
        table.contains("apet, 300 tuned") && table.contains("test"),
        "{table}"
    );
    let record = home.record();
    assert_eq!(record.status(), Status::Done);
    assert_eq!(record.steps().len(), 20);
    assert_eq!(
        (
            record.header.theta.requested_parameters,
            record.header.theta.trainable_parameters
        ),
        (300, 300)
    );
    assert!(record.id_is_true());
    let theta = home.path(&format!("runs/{}-cpu.theta.safetensors", record.header.run));
    assert!(
        fs::metadata(theta).unwrap().len() < 20_000,
        "theta is its values and positions"
    );
    let answers = home.path("answers.jsonl");
    let words = format!("predict {} -o", record.header.run);
    let mut predict = home.command(&words);
    let said = succeeds(predict.arg(&answers).arg("--data").arg(home.path("data")));
    let answers: Vec<serde_json::Value> = fs::read_to_string(answers)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 16);
    assert_eq!(
        answers[0]["text"],
        "the food was good and number 200 was great"
    );
    let right = |row: &&serde_json::Value| row["right"][0] == row["answer"];
    let right = answers.iter().filter(right).count();
    let test = record.summary().unwrap().test.unwrap();
    assert_eq!(right as f64 / 16.0, test);
    assert!(
        said.contains(&format!("accuracy of 16 rows {:.2} %", 100.0 * test)),
        "{said}"
    );
    // A completed run is shown, not rerun.
    let again = home
        .run("--count 300 --steps 20 --eval-every 10 --learning-rate 0.01")
        .output()
        .unwrap();
    assert!(text(&again).contains("already there"));
    let json = succeeds(
        &mut home.run("--count 300 --steps 20 --eval-every 10 --learning-rate 0.01 --json"),
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["summary"]["steps"], 20);
    // A record as the spec gives the same run.
    let name = format!("runs/{}-cpu.jsonl", record.header.run);
    let mut same = home.command("run --json --spec");
    same.arg(home.path(&name))
        .arg("--data")
        .arg(home.path("data"));
    let output = same.output().unwrap();
    assert!(text(&output).contains("already there"), "{}", text(&output));
}

/// Tensors that a classification does not use are not trained: T5's decoder and its head.
#[test]
fn only_what_takes_part_is_tuned() {
    let home = Home::new();
    let model = home.path("models/t5-tiny");
    fs::create_dir_all(&model).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(fixture().join("../t5-tiny").join(file), model.join(file)).unwrap();
    }
    let mut run = home.command("run --model t5-tiny --task mine --batch-size 8 --max-length 16");
    run.args("--method full --steps 3 --eval-every 3".split(' '));
    succeeds(run.arg("--data").arg(home.path("data")));
    let header = home.record().header;
    let (d, inner, blocks) = (64, 128, 2);
    let block = 4 * d * d + 3 * d * inner + 2 * d;
    let expected = 512 * d + 32 * 4 + blocks * block + d;
    assert_eq!(header.theta.trainable_parameters, expected);
    assert!(header.model.parameters > 2 * expected);
}

#[test]
fn every_method_trains() {
    let home = Home::new();
    for method in ["apet --modules all", "lora", "bitfit", "head", "full"] {
        succeeds(&mut home.run(&format!("--method {method} --steps 3")));
    }
    succeeds(&mut home.run("--method lora --targets intermediate.dense,query --rank 2 --alpha 4 --steps 2 --pooling first"));
    succeeds(
        &mut home.run(
            "--layers 1..1 --modules ffn --count 50 --steps 2 --accumulation 2 --pooling pooler",
        ),
    );
}

#[test]
fn broken_weights_are_refused() {
    let home = Home::new();
    let weights = home.path("models/bert-tiny/model.safetensors");
    let good = fs::read(&weights).unwrap();

    fs::write(&weights, &good[..good.len() - 100]).unwrap();
    let said = refused(&mut home.run(""));
    assert!(
        said.contains("bert-tiny/model.safetensors") && said.contains("fetch it again"),
        "{said}"
    );

    fs::write(&weights, [good.as_slice(), &[0; 100]].concat()).unwrap();
    let said = refused(&mut home.run(""));
    assert!(said.contains("bert-tiny/model.safetensors"), "{said}");

    fs::write(&weights, u64::MAX.to_le_bytes()).unwrap();
    assert!(refused(&mut home.run("")).contains("bert-tiny/model.safetensors"));

    fs::write(&weights, &good).unwrap();
    let config = fs::read_to_string(home.path("models/bert-tiny/config.json")).unwrap();
    home.write(
        "models/bert-tiny/config.json",
        config.replace("\"intermediate_size\": 128", "\"intermediate_size\": 127"),
    );
    let said = refused(&mut home.run(""));
    assert!(
        said.contains("intermediate.dense.weight has shape [128, 64], expected [127, 64]"),
        "{said}"
    );
    assert!(
        said.contains("layer.1.output.dense.weight"),
        "all of them are listed: {said}"
    );
}

#[test]
fn wrong_configs_and_tokenizers_are_refused() {
    let home = Home::new();
    let config = fs::read_to_string(home.path("models/bert-tiny/config.json")).unwrap();
    for (from, to, expected) in [
        (
            "\"model_type\": \"bert\"",
            "\"model_type\": \"magic\"",
            "\"model_type\": \"magic\" is not supported",
        ),
        (
            "\"hidden_act\": \"gelu\"",
            "\"hidden_act\": \"swish\"",
            "\"hidden_act\": \"swish\" is not supported (gelu",
        ),
        (
            "\"hidden_size\": 64",
            "\"hidden_size\": -1",
            "field \"hidden_size\"",
        ),
        (
            "\"num_attention_heads\": 4",
            "\"num_attention_heads\": 5",
            "\"num_attention_heads\": 5 does not divide",
        ),
        ("{", "", "config.json"),
    ] {
        home.write("models/bert-tiny/config.json", config.replacen(from, to, 1));
        let said = refused(&mut home.run(""));
        assert!(said.contains(expected), "{said}");
    }
    home.write(
        "models/bert-tiny/config.json",
        config.replace("\"vocab_size\": 512", "\"vocab_size\": 500"),
    );
    let said = refused(&mut home.run(""));
    assert!(
        said.contains("word_embeddings.weight has shape [512, 64], expected [500, 64]"),
        "{said}"
    );

    home.write("models/bert-tiny/config.json", &config);
    let tokenizer = fs::read_to_string(home.path("models/bert-tiny/tokenizer.json")).unwrap();
    let other = tokenizer
        .replace("\"[MASK]\": 4", "\"[MASK]\": 90000")
        .replace("\"[MASK]\":4", "\"[MASK]\":90000");
    assert_ne!(other, tokenizer);
    home.write("models/bert-tiny/tokenizer.json", other);
    let said = refused(&mut home.run(""));
    assert!(said.contains("tokenizer.json"), "{said}");
    home.write("models/bert-tiny/tokenizer.json", "not json");
    assert!(refused(&mut home.run("")).contains("bert-tiny/tokenizer.json"));
    assert!(
        refused(&mut home.command("run --model nothing --task mine")).contains("not in the store")
    );
}

#[test]
fn wrong_data_is_refused() {
    let home = Home::new();
    home.write("data/validation.csv", "text,label\n");
    let said = refused(&mut home.run(""));
    assert!(said.contains("validation.csv"), "{said}");
    home.write("data/validation.csv", "text,label\nfine,7\n");
    let said = refused(&mut home.run(""));
    assert!(
        said.contains("validation.csv") && said.contains('7'),
        "{said}"
    );
    home.write("data/validation.csv", "words,label\nfine,1\n");
    let said = refused(&mut home.run(""));
    assert!(
        said.contains("validation.csv") && said.contains("text"),
        "{said}"
    );
    fs::remove_dir_all(home.path("data")).unwrap();
    assert!(refused(&mut home.run("")).contains("data"));
}

#[test]
fn wrong_counts_and_options_are_refused() {
    let home = Home::new();
    assert!(refused(&mut home.run("--count 0")).contains("method.count: found 0"));
    let said = refused(&mut home.run("--count 99999999"));
    assert!(
        said.contains("method.count: found 99999999, the pool has"),
        "{said}"
    );
    let said = refused(&mut home.run("--layers 0..9"));
    assert!(said.contains("the model has blocks 0 to 1"), "{said}");
    let said = refused(&mut home.run("--method lora --targets nothing"));
    assert!(
        said.contains("expected one of") && said.contains("query"),
        "{said}"
    );
    assert!(
        refused(&mut home.run("--method head --count 5"))
            .contains("--count belongs to --method apet")
    );
    assert!(refused(&mut home.run("--modules magic")).contains("unknown variant `magic`"));
    let mut long = home.command("run --model bert-tiny --task mine --max-length 9999");
    assert!(refused(long.arg("--data").arg(home.path("data"))).contains("positions for 64"));
    let said = refused(&mut home.run("--device magic"));
    assert!(said.contains("expected cpu, wgpu, vulkan:N"), "{said}");
    let said = refused(&mut home.run("--device cuda:0"));
    assert!(
        said.contains("this build has no CUDA; cargo build"),
        "{said}"
    );
    home.write(
        "spec.json",
        r#"{"model":"bert-tiny","task":{"name":"mine"},"train":{"stepz":1}}"#,
    );
    home.write("mine.toml", "name = \"mine\"\nlabel_word = []\n");
    let mut run = home.command("run --model bert-tiny --task");
    let said = refused(run.arg(home.path("mine.toml")));
    assert!(
        said.contains("mine.toml: line 2: unknown field `label_word`"),
        "{said}"
    );
    let mut run = home.command("run");
    run.arg("--spec").arg(home.path("spec.json"));
    let said = refused(&mut run);
    assert!(
        said.contains("spec.json") && said.contains("spec.train.stepz: unknown field"),
        "{said}"
    );
    assert!(!home.path("runs").exists() || fs::read_dir(home.path("runs")).unwrap().count() == 0);
}

/// Two halves of each batch on two devices give the gradient of the whole batch.
#[test]
fn devices_share_every_batch() {
    let of = |device: &str| {
        let home = Home::new();
        let words =
            format!("--steps 12 --accumulation 2 --eval-every 6 --method lora --device {device}");
        let output = home.run(&words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        home.record()
    };
    let (one, two) = (of("cpu"), of("cpu,cpu"));
    assert_eq!(two.header.device.name, "cpu,cpu");
    assert_eq!((one.steps().len(), two.steps().len()), (12, 12));
    for (a, b) in one.steps().iter().zip(two.steps()) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * a.abs();
        assert!(
            near(a.loss, b.loss) && near(a.grad_norm, b.grad_norm),
            "{a:?} {b:?}"
        );
    }
    let home = Home::new();
    let said = refused(&mut home.run("--device cpu,magic"));
    assert!(
        said.contains("helping device \"magic\"") && said.contains("expected cpu"),
        "{said}"
    );
    assert!(!home.path("runs").exists());
}

#[test]
fn numbers_that_a_device_does_not_have_are_refused() {
    let home = Home::new();
    let output = home
        .run("--dtype bf16 --device wgpu --steps 1")
        .output()
        .unwrap();
    // A driver may print something first.
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let sentence = "error: --dtype bf16: the device \"wgpu\" (";
    assert!(
        !output.status.success() && error.contains(sentence),
        "{error}"
    );
    assert!(error.contains(") computes with f32"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    // Frozen weights in half precision: the head trains as in single precision.
    for dtype in ["f16", "bf16"] {
        let words = format!("--dtype {dtype} --method head --steps 2 --eval-every 2");
        succeeds(&mut home.run(&words));
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_what_it_has() {
    let home = Home::new();
    let said =
        refused(&mut home.run("--method full --steps 60 --eval-every 1 --learning-rate 1e30"));
    assert!(said.contains("the loss was not a number at step"), "{said}");
    let record = home.record();
    assert_eq!(record.status(), Status::Diverged);
    assert!(record.steps().iter().all(|s| s.loss.is_finite()));
    assert!(
        home.path(&format!("runs/{}-cpu.theta.safetensors", record.header.run))
            .is_file()
    );
}

/// The spec names a task, but its rows may have changed.
#[test]
fn a_run_with_other_rows_is_not_taken_for_the_one_that_is_there() {
    let home = Home::new();
    let options = "--count 50 --steps 2 --eval-every 2";
    succeeds(&mut home.run(options));
    home.write("data/train.csv", "text,label\ngood,1\nbad,0\n");
    let said = refused(&mut home.run(options));
    assert!(
        said.contains("made with other rows of task \"mine\"") && said.contains("--overwrite"),
        "{said}"
    );
    assert_eq!(
        home.record().header.task.train_rows,
        64,
        "it is still there"
    );
    succeeds(&mut home.run(&format!("{options} --overwrite")));
    assert_eq!(home.record().header.task.train_rows, 2);
}

#[test]
fn a_spec_on_two_devices_leaves_two_records() {
    let home = Home::new();
    let options = "--count 50 --steps 1 --eval-every 1";
    succeeds(&mut home.run(options));
    succeeds(&mut home.run(&format!("{options} --device wgpu")));
    let files = fs::read_dir(home.path("runs")).unwrap().flatten();
    let names = files.map(|f| f.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| n.ends_with(".jsonl")).collect();
    names.sort();
    let run = &home.record().header.run;
    assert_eq!(
        names,
        [format!("{run}-cpu.jsonl"), format!("{run}-wgpu.jsonl")]
    );
    // Each records its peak memory: at least the model's 438 kB of weights.
    for name in names {
        let text = fs::read_to_string(home.path("runs").join(&name)).unwrap();
        let records = RunRecord::parse(&text).unwrap();
        let peak = records[0].summary().unwrap().peak_bytes;
        assert!(peak.unwrap() > 438_000, "{name}: {peak:?}");
    }
    let said = refused(&mut home.command(&format!("run --resume {run}")));
    assert!(said.contains("say which with --device"), "{said}");
}

/// A killed run resumes from its checkpoint, with the losses of an uninterrupted run.
#[test]
fn a_killed_run_is_resumed_to_the_same_losses() {
    let options = "--method apet --count 2000 --steps 400 --eval-every 50 --checkpoint-every 7 --learning-rate 0.01 --seed 3";
    let whole = Home::new();
    succeeds(&mut whole.run(options));
    let whole = whole.record();

    let home = Home::new();
    let mut child = home
        .run(options)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let run = &whole.header.run;
    let checkpoint = home.path(&format!("runs/{run}-cpu.checkpoint.safetensors"));
    let begun = Instant::now();
    while !checkpoint.exists() && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let record = home.record();
    assert_eq!(
        record.status(),
        Status::Unfinished,
        "the run was killed in its middle"
    );
    assert!(!record.steps().is_empty());

    let said = refused(&mut home.run(options));
    assert!(said.contains("--resume continues"), "{said}");
    succeeds(
        home.command(&format!("run --resume {run}"))
            .arg("--data")
            .arg(home.path("data")),
    );
    let resumed = home.record();
    assert_eq!(resumed.status(), Status::Done);
    let losses = |r: &RunRecord| {
        r.steps()
            .iter()
            .map(|s| (s.step, s.loss))
            .collect::<Vec<_>>()
    };
    assert_eq!(losses(&resumed), losses(&whole));
    assert_eq!(
        resumed.summary().unwrap().test,
        whole.summary().unwrap().test
    );
    assert!(!checkpoint.exists(), "a finished run needs none");
}

/// A limit on file sizes simulates a full disk: writes fail during the run.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_run_with_a_sentence_and_a_readable_record() {
    let home = Home::new();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"");
    shell.arg(env!("CARGO_BIN_EXE_apet"));
    shell.args(
        "run --model bert-tiny --task mine --batch-size 8 --max-length 16 --count 200 --steps 400"
            .split(' '),
    );
    shell
        .arg("--data")
        .arg(home.path("data"))
        .env("APET_HOME", home.folder.path());
    let said = refused(&mut shell);
    assert!(
        said.contains(".jsonl") && said.contains("free some space"),
        "{said}"
    );
    assert_eq!(home.record().status(), Status::Unfinished);
}

#[test]
fn two_processes_do_not_make_the_same_run() {
    let home = Home::new();
    let options = "--method apet --count 100 --steps 100000 --eval-every 50000";
    let mut first = home
        .run(options)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !home.path("runs").is_dir() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    let said = refused(&mut home.run(&format!("{options} --overwrite")));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(
        said.contains("another process is making this run"),
        "{said}"
    );
}

#[test]
fn forward_writes_ids_states_and_means() {
    let home = Home::new();
    home.write("texts.txt", "the food was good\nthe film\twas bad\n");
    let out = home.path("out.safetensors");
    let mut forward = home.command("forward --model bert-tiny");
    forward
        .arg("--texts")
        .arg(home.path("texts.txt"))
        .arg("-o")
        .arg(&out);
    succeeds(&mut forward);
    let bytes = fs::read(out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tokens = file.tensor("0.ids").unwrap().shape()[0];
    assert_eq!(file.tensor("0.hidden.2").unwrap().shape(), [tokens, 64]);
    assert_eq!(file.tensor("1.mean").unwrap().shape(), [64]);
    home.write("empty.txt", "");
    let mut forward = home.command("forward --model bert-tiny -o x.safetensors");
    forward.arg("--texts").arg(home.path("empty.txt"));
    assert!(refused(&mut forward).contains("a text a line"));
}
