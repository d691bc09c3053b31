//! `cargo xtask test --peers`: the stored figures made again with transformers and
//! peft, and what the binary writes read by them. Needs about 6 GB, so it is asked for.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::build::{apet, everything, native};
use crate::lab::fetch;
use crate::step::{command, output, root, run, step, target};

/// Texts of the other direction: `apet forward` writes, transformers compares.
const TEXTS: &str = "\
a text of some words
Café naïve — “wow”!! 100% 电影 😀 Straße
it starts slowly, and for twenty minutes nothing seems to be at stake
unbelievablylongwordwithoutanybreaks antidisestablishmentarianism
";

/// A real model of every kind.
const MODELS: [&str; 3] = ["minilm-l6", "mpnet-base", "smollm2-135m"];

/// Runs every check; says how many passed.
///
/// # Errors
/// What is missing, or the first check that failed.
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
    step("figures of the tiny checkpoints", || {
        let mut check = script("golden.py")?;
        for family in ["bert", "mpnet", "bloom", "llama", "t5"] {
            check.arg(fixtures.join(format!("{family}-tiny")));
        }
        run(check)
    })?;
    step("figures of the metrics", || {
        let mut check = script("metrics.py")?;
        check.arg("--out").arg(fixtures.join("metrics.json"));
        check.arg("--check");
        run(check)
    })?;
    step("figures of the statistics", || {
        let mut check = script("statistics.py")?;
        check.arg("--out").arg(fixtures.join("statistics.json"));
        check.arg("--check");
        run(check)
    })?;
    step("figures of the tasks", || {
        let mut check = script("tasks.py")?;
        check.arg("--out").arg(fixtures.join("tasks/golden.json"));
        check.arg("--check");
        run(check)
    })?;
    for (what, name) in [
        ("states of MiniLM-L6", "forward.py"),
        ("first 50 losses of MiniLM-L6", "first50.py"),
    ] {
        step(what, || {
            let mut check = on_minilm(name)?;
            check.arg("--out").arg(&stored).arg("--check");
            run(check)
        })?;
    }
    let folder = target()?.join("peers-work");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (texts, states) = (folder.join("texts.txt"), folder.join("states.safetensors"));
    fs::write(&texts, TEXTS).with_context(|| texts.display().to_string())?;
    for name in MODELS {
        step(
            &format!("apet forward on {name}, read by transformers"),
            || {
                let mut forward = command(apet()?, ["forward", "--model", name, "--texts"])?;
                forward.arg(&texts).arg("-o").arg(&states);
                forward.env("APET_HOME", &store);
                run(forward)?;
                let mut check = script("forward.py")?;
                check.arg("--model").arg(store.join("models").join(name));
                check.arg("--texts").arg(&texts).arg("--apet").arg(&states);
                run(check)
            },
        )?;
    }
    step("generation of SmolLM2", || {
        let mut check = script("generate.py")?;
        check.arg("--model").arg(store.join("models/smollm2-135m"));
        check.arg("--apet").arg(apet()?);
        run(check)
    })?;
    step("adapters that peft saves", || {
        let mut check = script("adapters.py")?;
        check.args(["--make", "--check", "--out"]);
        check.arg(fixtures.join("peft"));
        run(check)
    })?;
    step(
        "adapters and models written here, loaded by peft and transformers",
        || {
            let mut write = native("test")?;
            write.args(["--test", "peft"]);
            run(write)?;
            let mut check = script("adapters.py")?;
            check.arg("--load").arg(target()?.join("tmp/peft"));
            run(check)
        },
    )?;
    println!("10 passed, 0 failed, 0 skipped");
    Ok(())
}

/// A Python of its own with the pinned packages, made anew when they change.
///
/// # Errors
/// When there is no Python, or the packages can not be installed.
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
