//! A real Slurm on this machine takes a study of many runs, in which workers are killed and suspended, the node is drained,
//! and the controller ends and begins again. At the end every run has one record, equal to that of an undisturbed study.
//!
//! Needs slurmctld, slurmd and munge, and root: `cargo xtask test` installs them on Debian, and runs this with 60 runs
//! (`APET_SLURM_RUNS`); `cargo test --test slurm` with 200.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails where its preparation does"
)]

mod place;
mod told;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use apet_record::RunRecord;
use place::Place;
use told::told;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");

/// Two counts with two rates and one seed, then with one rate and many seeds.
const STUDY: &str = r#"
name = "array"
models = ["bert-tiny"]
seeds = [SEEDS]
train = { steps = 40, batch_size = 4, eval_every = 20, checkpoint_every = 1 }
tune = { seeds = [1000] }

[[task]]
name = "sst2"
max_length = 16

[[method]]
name = "apet"
counts = [20, 50]
learning_rate = [1e-3, 1e-2]
"#;

/// Runs in all.
fn runs() -> usize {
    std::env::var("APET_SLURM_RUNS").map_or(200, |runs| runs.parse().unwrap())
}

fn said(program: &str, words: &[&str], config: &Path) -> String {
    let mut command = Command::new(program);
    let output = command
        .args(words)
        .env("SLURM_CONF", config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for something to be so.
fn until(what: &str, seconds: u64, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is() {
        assert!(Instant::now() < end, "{what}: not so after {seconds} s");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// munge, slurmctld and slurmd of a test, ended with it.
struct Slurm {
    folder: tempfile::TempDir,
    host: String,
    /// munge was not there before.
    munge: bool,
}

impl Slurm {
    fn new() -> Self {
        let host = said("hostname", &["-s"], Path::new("")).trim().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let answers = Command::new("munge").arg("-n").output().unwrap();
        let munge = !answers.status.success();
        if munge {
            let begin = "mkdir -p /run/munge && chown munge:munge /run/munge && su -s /bin/sh munge -c munged";
            said("sh", &["-c", begin], Path::new(""));
        }
        let slurm = Self {
            folder,
            host,
            munge,
        };
        for of in ["state", "spool"] {
            fs::create_dir(slurm.path(of)).unwrap();
        }
        let (host, root) = (&slurm.host, slurm.folder.path().display());
        let config = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\n\
             StateSaveLocation={root}/state\nSlurmdSpoolDir={root}/spool\nSlurmctldPidFile={root}/slurmctld.pid\n\
             SlurmdPidFile={root}/slurmd.pid\nSlurmctldLogFile={root}/slurmctld.log\nSlurmdLogFile={root}/slurmd.log\n\
             ProctrackType=proctrack/pgid\nTaskPlugin=task/none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
             ReturnToService=2\nMaxArraySize=100001\nSlurmctldPort=16817\nSlurmdPort=16818\nJobRequeue=1\nKillWait=5\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN\n\
             PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP\n"
        );
        fs::write(slurm.config(), config).unwrap();
        slurm.controller();
        let config = slurm.config().display().to_string();
        said(
            "slurmd",
            &["-f", &config, "-N", &slurm.host],
            &slurm.config(),
        );
        until("the node is idle", 60, || {
            slurm.says("sinfo", &["-h", "-o", "%T"]).trim() == "idle"
        });
        slurm
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> std::path::PathBuf {
        self.path("slurm.conf")
    }

    fn controller(&self) {
        let config = self.config().display().to_string();
        said("slurmctld", &["-f", &config], &self.config());
        until("the controller answers", 30, || {
            let mut ping = Command::new("scontrol");
            let output = ping
                .arg("ping")
                .env("SLURM_CONF", self.config())
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).contains("is UP")
        });
    }

    /// What a command says; nothing while the controller is away.
    fn says(&self, program: &str, words: &[&str]) -> String {
        self.asked(program, words).unwrap_or_default()
    }

    /// What a command says that ends well.
    fn asked(&self, program: &str, words: &[&str]) -> Option<String> {
        let mut command = Command::new(program);
        let output = command
            .args(words)
            .env("SLURM_CONF", self.config())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(said)
    }

    /// What the controller noted of jobs and nodes.
    fn log(&self) -> String {
        fs::read_to_string(self.path("slurmctld.log")).unwrap_or_default()
    }

    fn end(&self, daemon: &str) {
        if let Ok(pid) = fs::read_to_string(self.path(&format!("{daemon}.pid"))) {
            Command::new("sh")
                .args(["-c", &format!("kill {}", pid.trim())])
                .status()
                .ok();
        }
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        for daemon in ["slurmctld", "slurmd"] {
            self.end(daemon);
        }
        if self.munge {
            let end = "kill $(cat /run/munge/munged.pid)";
            Command::new("sh").args(["-c", end]).status().ok();
        }
    }
}

fn planned(place: &Place) {
    let seeds: Vec<String> = (1..=(runs() - 4) / 2)
        .map(|seed| seed.to_string())
        .collect();
    fs::write(
        place.path("array.toml"),
        STUDY.replace("SEEDS", &seeds.join(",")),
    )
    .unwrap();
    place.said(&["fetch", &format!("{FIXTURES}/bert-tiny")]);
    let task = place.path("data/sst2");
    fs::create_dir_all(&task).unwrap();
    fs::copy(
        format!("{FIXTURES}/tasks/sst2.jsonl"),
        task.join("train.jsonl"),
    )
    .unwrap();
    place.said(&["plan", "array.toml", "-o", "study", "--data", "data"]);
}

fn records(place: &Place) -> BTreeMap<String, String> {
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let record = RunRecord::parse(&text).unwrap().pop().unwrap();
        (record.header.run.clone(), told(&record))
    };
    place.records("study/runs").iter().map(read).collect()
}

/// The processes of the study's workers.
fn workers() -> Vec<String> {
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_apet")).unwrap();
    let program = program.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let is_ours = fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
            let words: Vec<&[u8]> = line.split(|&b| b == 0).collect();
            words.first() == Some(&program.as_bytes()) && words.contains(&&b"--index-offset"[..])
        });
        if is_ours {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// Those that are there as soon as there is one.
fn some_workers() -> Vec<String> {
    let mut found = Vec::new();
    until("a worker is there", 60, || {
        found = workers();
        !found.is_empty()
    });
    found
}

/// The errors that workers reported.
fn errors(place: &Place) -> Vec<String> {
    let logs = fs::read_dir(place.path("study/logs")).unwrap().flatten();
    let texts = logs.filter_map(|log| fs::read_to_string(log.path()).ok());
    // A line of Slurm's own begins with the name of who says it.
    let is_error = |text: &String| text.lines().any(|line| line.starts_with("error:"));
    texts.filter(is_error).collect()
}

fn signal(name: &str, process: &str) {
    Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status()
        .unwrap();
}

#[test]
fn an_array_survives_what_happens_to_it() {
    let place = Place::new();
    planned(&place);
    let slurm = Slurm::new();
    let done = || place.records("study/runs").len();
    let submit = || {
        let words = [
            "submit",
            "study",
            "--to",
            "slurm",
            "--cpus",
            "1",
            "--memory",
            "1",
            "--lease",
            "3",
            "--minutes",
            "30",
        ];
        let mut command = place.command(&words);
        let output = command.env("SLURM_CONF", slurm.config()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    submit();
    until("runs are done", 300, || done() >= 10);
    // Workers that are killed, as by a node that fails.
    for _ in 0..3 {
        some_workers()
            .iter()
            .for_each(|process| signal("KILL", process));
        std::thread::sleep(Duration::from_millis(700));
    }
    // One that is suspended for longer than its lease, and goes on.
    let suspended = some_workers().pop().unwrap();
    signal("STOP", &suspended);
    let before = done();
    std::thread::sleep(Duration::from_secs(5));
    signal("CONT", &suspended);
    until("runs go on", 120, || done() > before + 2);
    // The node is drained, and comes back.
    let node = format!("NodeName={}", slurm.host);
    slurm.says("scontrol", &["update", &node, "State=DRAIN", "Reason=test"]);
    until("no worker is left", 60, || workers().is_empty());
    let drained = done();
    slurm.says("scontrol", &["update", &node, "State=RESUME"]);
    until("runs go on", 120, || done() > drained);
    // The controller ends and begins again.
    slurm.end("slurmctld");
    until("the controller is away", 30, || {
        !slurm.says("scontrol", &["ping"]).contains("is UP")
    });
    slurm.controller();
    // Killed runs are not retried automatically: the rest is submitted, as a user would.
    let mut submissions = 1;
    loop {
        until("the queue is empty", 600, || {
            let jobs = slurm.asked("squeue", &["-h"]);
            jobs.is_some_and(|jobs| jobs.trim().is_empty())
        });
        // Only what happened to workers from outside may leave a run undone.
        let errors = errors(&place);
        assert_eq!(errors, Vec::<String>::new());
        let rest = runs() - done();
        if rest == 0 {
            break;
        }
        println!("{rest} of {} runs are submitted again", runs());
        assert!(submissions < 4, "{}", slurm.log());
        submissions += 1;
        submit();
    }
    let found = records(&place);
    assert_eq!(found.len(), runs());
    let status: serde_json::Value =
        serde_json::from_str(&place.said(&["status", "study", "--json"])).unwrap();
    assert_eq!(status["all"]["done"], runs(), "{status}");
    let whole = Place::new();
    planned(&whole);
    whole.said(&["run", "--study", "study", "--jobs", "2"]);
    let expected = records(&whole);
    assert_eq!(expected.len(), runs());
    for (run, record) in &expected {
        assert_eq!(found.get(run), Some(record), "{run}");
    }
}
