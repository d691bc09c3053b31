//! `cargo xtask test --peers`: recomputes the stored figures with transformers and
//! peft, and reads the binary's output with them. Optional, because it needs about 6 GB.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::build::{apet, everything, native};
use crate::lab::fetch;
use crate::step::{command, output, root, run, step, target};

/// Texts for the reverse direction: `apet forward` writes, transformers compares.
const TEXTS: &str = "\
a text of some words
Café naïve — “wow”!! 100% 电影 😀 Straße
it starts slowly, and for twenty minutes nothing seems to be at stake
unbelievablylongwordwithoutanybreaks antidisestablishmentarianism
";

/// A study of four runs whose curves are read.
const STUDY: &str = r#"
name = "curves"
about = "Four runs."
models = ["ladder-nano"]
seeds = [1, 2]
train = { steps = 20, batch_size = 4, eval_every = 10 }
[[task]]
name = "sentences"
max_length = 32
[[method]]
name = "head"
learning_rate = 1e-2
[[method]]
name = "lora"
learning_rate = 1e-2
"#;

/// A real model of each kind.
const MODELS: [&str; 3] = ["minilm-l6", "mpnet-base", "smollm2-135m"];

/// Runs every check and prints how many passed.
///
/// # Errors
/// Names what is missing, or the first check that failed.
pub(crate) fn peers() -> Result<()> {
    everything()?;
    let python = step("Python with transformers and peft", environment)?;
    let store = target()?.join("test-store");
    step("models of the checks", || fetch(&MODELS, store.as_os_str()))?;
    let model = store.join("models/minilm-l6");
    let [scripts, fixtures] = ["tests/peers", "tests/fixtures"].map(|folder| root().join(folder));
    let script = |name: &str| command(&python, [scripts.join(name)]);
    let on_minilm = |name: &str| {
        let mut check = script(name)?;
        check.arg("--model").arg(&model);
        anyhow::Ok(check)
    };
    let stored = fixtures.join("minilm-l6");
    let mut passed = 0;
    let mut check = |name: &str, work: &dyn Fn() -> Result<()>| {
        step(name, work)?;
        passed += 1;
        anyhow::Ok(())
    };
    check("figures of the tiny checkpoints", &|| {
        let mut script = script("golden.py")?;
        for family in [
            "bert",
            "mpnet",
            "bloom",
            "llama",
            "gptneox",
            "gptneox-serial",
            "t5",
        ] {
            script.arg(fixtures.join(format!("{family}-tiny")));
        }
        run(script)
    })?;
    check("figures of the metrics", &|| {
        let mut script = script("metrics.py")?;
        script.arg("--out").arg(fixtures.join("metrics.json"));
        script.arg("--check");
        run(script)
    })?;
    check("figures of the statistics", &|| {
        let mut script = script("statistics.py")?;
        script.arg("--out").arg(fixtures.join("statistics.json"));
        script.arg("--check");
        run(script)
    })?;
    check("figures of the tasks", &|| {
        let mut script = script("tasks.py")?;
        script.arg("--out").arg(fixtures.join("tasks/golden.json"));
        script.arg("--check");
        run(script)
    })?;
    for (what, name) in [
        ("states of MiniLM-L6", "forward.py"),
        ("first 50 losses of MiniLM-L6", "first50.py"),
    ] {
        check(what, &|| {
            let mut script = on_minilm(name)?;
            script.arg("--out").arg(&stored).arg("--check");
            run(script)
        })?;
    }
    let folder = target()?.join("peers-work");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (texts, states) = (folder.join("texts.txt"), folder.join("states.safetensors"));
    fs::write(&texts, TEXTS).with_context(|| texts.display().to_string())?;
    for name in MODELS {
        check(
            &format!("apet forward on {name}, read by transformers"),
            &|| {
                let mut forward = command(apet()?, ["forward", "--model", name, "--texts"])?;
                forward.arg(&texts).arg("-o").arg(&states);
                forward.env("APET_HOME", &store);
                run(forward)?;
                let mut script = script("forward.py")?;
                script.arg("--model").arg(store.join("models").join(name));
                script.arg("--texts").arg(&texts).arg("--apet").arg(&states);
                run(script)
            },
        )?;
    }
    check("generation of SmolLM2", &|| {
        let mut script = script("generate.py")?;
        script.arg("--model").arg(store.join("models/smollm2-135m"));
        script.arg("--apet").arg(apet()?);
        run(script)
    })?;
    check("adapters that peft saves", &|| {
        let mut script = script("adapters.py")?;
        script.args(["--make", "--check", "--out"]);
        script.arg(fixtures.join("peft"));
        run(script)
    })?;
    check(
        "adapters and models written here, loaded by peft and transformers",
        &|| {
            let mut write = native("test")?;
            write.args(["--test", "peft"]);
            run(write)?;
            let mut script = script("adapters.py")?;
            script.arg("--load").arg(target()?.join("tmp/peft"));
            run(script)
        },
    )?;
    check("a run's answers, scored by the Python packages", &|| {
        let data = folder.join("nq_open");
        fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        for split in ["train", "validation", "test"] {
            let to = data.join(format!("{split}.jsonl"));
            fs::copy(fixtures.join("tasks/nq_open.jsonl"), to)?;
        }
        let of_run = |words: &str| {
            let mut apet = command(apet()?, words.split_whitespace())?;
            apet.arg("--data").arg(&data).env("APET_HOME", &store);
            anyhow::Ok(apet)
        };
        // A decoder that memorises some of the questions.
        let mut made = of_run(
            "run --json --overwrite --model ladder-decoder --objective label_words --task nq_open --method full \
             --learning-rate 0.003 --max-length 48 --batch-size 10 --steps 12",
        )?;
        let output = made.output()?;
        ensure!(output.status.success(), "{made:?} failed");
        let made: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let run_id = made["header"]["run"]
            .as_str()
            .context("the run has no id")?;
        let answers = folder.join("answers.jsonl");
        let mut predict = of_run(&format!("predict {run_id}"))?;
        predict.arg("-o").arg(&answers);
        run(predict)?;
        let mut script = script("predictions.py")?;
        script.arg(&answers);
        script.arg(store.join(format!("runs/{run_id}-cpu.jsonl")));
        run(script)
    })?;
    let grid = folder.join("small.toml");
    fs::write(&grid, STUDY).with_context(|| grid.display().to_string())?;
    let [study, other] = ["study", "other"].map(|name| folder.join(name));
    let on_study = |words: &[&str], study: &Path| {
        let mut apet = command(apet()?, words)?;
        apet.arg(study).env("APET_HOME", &store);
        anyhow::Ok(apet)
    };
    let planned = |study: &Path| {
        if study.exists() {
            fs::remove_dir_all(study).with_context(|| study.display().to_string())?;
        }
        let mut plan = on_study(&["plan"], &grid)?;
        plan.arg("-o").arg(study);
        run(plan)
    };
    check(
        "curves of a study, read by TensorBoard and pyarrow",
        &|| {
            planned(&study)?;
            run(on_study(&["run", "--study"], &study)?)?;
            let [logs, site] = ["logs", "site"].map(|name| study.join(name));
            let mut collect = on_study(&["collect"], &study)?;
            collect.arg("--tensorboard").arg(&logs);
            collect.arg("--trackio").arg(&site);
            run(collect)?;
            let mut script = script("curves.py")?;
            script.arg(study.join("runs")).arg(&logs).arg(&site);
            run(script)
        },
    )?;
    check("a study by HyperQueue", &|| {
        planned(&other)?;
        let mut script = script("cluster.py")?;
        script.arg(apet()?).arg(&other).arg(study.join("runs"));
        script.env("APET_HOME", &store);
        run(script)
    })?;
    println!("{passed} passed, 0 failed, 0 skipped");
    Ok(())
}

/// A separate Python environment with the pinned packages, recreated when they change.
///
/// # Errors
/// If Python is missing, or the packages cannot be installed.
pub(crate) fn environment() -> Result<PathBuf> {
    let folder = target()?.join("peers");
    let python = folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    let pins = root().join("tests/peers/requirements.txt");
    let wanted = fs::read_to_string(&pins).with_context(|| pins.display().to_string())?;
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        println!("{} is up to date", folder.display());
        return Ok(python);
    }
    ensure!(
        output("python3", &["-m", "venv", "--help"]).is_some(),
        "python3 with venv is missing; on Debian: apt-get install python3-venv"
    );
    let mut venv = command("python3", ["-m", "venv"])?;
    venv.arg(&folder);
    run(venv)?;
    let mut pip = command(&python, ["-m", "pip", "install", "--quiet", "-r"])?;
    pip.arg(&pins);
    run(pip)?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    Ok(python)
}
