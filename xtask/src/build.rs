//! wasm, page and binary. What has not changed is not built again: cargo knows
//! by itself, the rest goes by the time of the last change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::lab;
use crate::setup;
use crate::step::{cargo, command, root, run, step, target};

const TARGET: [&str; 4] = ["--profile", "web", "--target", "wasm32-unknown-unknown"];

/// The crates of the page, and their folders in web/pkg.
const WASM: [(&str, &str); 2] = [("apet_web", "lab"), ("apet_view", "view")];

/// The packages of the page, for cargo.
const WASM_PACKAGES: [&str; 4] = ["-p", "apet-web", "-p", "apet-view"];

/// One selection of packages for every native build, so that features are the
/// same and the long build of the dependencies is paid once.
const NATIVE: [&str; 8] = [
    "--release",
    "--workspace",
    "--exclude",
    "apet-web",
    "--exclude",
    "apet-view",
    "--exclude",
    "xtask",
];

/// Cargo on the native crates.
///
/// # Errors
/// See [`target`].
pub(crate) fn native(verb: &str) -> Result<Command> {
    cargo([verb].into_iter().chain(NATIVE))
}

/// Cargo on the crates of the page.
///
/// # Errors
/// See [`target`].
pub(crate) fn web(verb: &str) -> Result<Command> {
    cargo([verb].into_iter().chain(TARGET).chain(WASM_PACKAGES))
}

/// The binary, once built.
///
/// # Errors
/// See [`target`].
pub(crate) fn apet() -> Result<PathBuf> {
    let name = format!("apet{}", std::env::consts::EXE_SUFFIX);
    Ok(target()?.join("release").join(name))
}

/// Set-up, page and binary.
///
/// # Errors
/// What is missing, or the command that failed.
pub(crate) fn everything() -> Result<()> {
    step("set-up", setup::for_build)?;
    page()?;
    binary()
}

/// The binary, with the page inside.
///
/// # Errors
/// The command that failed.
pub(crate) fn binary() -> Result<()> {
    step("binary", || run(native("build")?))
}

/// The wasm modules, then the page around them.
///
/// # Errors
/// The command that failed.
pub(crate) fn page() -> Result<()> {
    step("wasm", || run(web("build")?))?;
    step("wasm-bindgen", || {
        WASM.iter()
            .try_for_each(|(name, folder)| bindgen(name, folder))
    })?;
    step("npm packages", packages)?;
    step("models and tasks of the page", offered)?;
    step("page", || {
        let root = root();
        let inputs = ["index.html", "package-lock.json", "web"].map(|input| root.join(input));
        let newest = inputs.iter().filter_map(|input| last_change(input)).max();
        if up_to_date(&root.join("web/dist/index.html"), newest) {
            println!("the page is up to date");
            return Ok(());
        }
        run(npm(["run", "build"])?)
    })
}

/// The page as a folder for any host of files, under any path: it needs no special headers.
///
/// # Errors
/// What is missing, the command that failed, or when the folder is there and is no earlier page.
pub(crate) fn site(folder: &Path) -> Result<()> {
    step("set-up", setup::for_build)?;
    page()?;
    let shown = folder.display();
    if folder.exists() {
        ensure!(
            folder.join("index.html").is_file() && folder.join("api/index.json").is_file(),
            "{shown}: is there and holds no earlier page; name a folder that is not there yet"
        );
        fs::remove_dir_all(folder).with_context(|| shown.to_string())?;
    }
    copy(&root().join("web/dist"), folder).with_context(|| shown.to_string())?;
    println!("{shown}: put it on any host of files");
    Ok(())
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// What the page has without any server: the models of web/public, the task `sentences` beside them, and their index.
fn offered() -> Result<()> {
    let public = root().join("web/public");
    let tasks = public.join("tasks");
    let from = root().join("node_modules/sentiment/test/fixtures");
    let source = root().join("crates/apet-tasks/src/sentences.rs");
    let newest = last_change(&from).max(last_change(&source));
    if !up_to_date(&tasks.join("sentences/train.jsonl"), newest) {
        let mut build = native("build")?;
        build.args(["--example", "sentences"]);
        run(build)?;
        let program = format!("sentences{}", std::env::consts::EXE_SUFFIX);
        let program = target()?.join("release/examples").join(program);
        run(command(program, [&from, &tasks])?)?;
    }
    let text = serde_json::to_string_pretty(&index(&public)?)?;
    let index = public.join("api/index.json");
    if fs::read_to_string(&index).ok().as_ref() != Some(&text) {
        fs::create_dir_all(public.join("api"))?;
        fs::write(&index, text).with_context(|| index.display().to_string())?;
    }
    Ok(())
}

/// `api/index.json` of the page as a folder, as `apet serve` answers it.
fn index(public: &Path) -> Result<serde_json::Value> {
    let mut models = Vec::new();
    for name in folders(&public.join("models"))? {
        let folder = public.join("models").join(&name);
        let config = fs::read_to_string(folder.join("config.json"))?;
        let config: serde_json::Value = serde_json::from_str(&config)?;
        let kinds = ["config", "tokenizer", "weights"];
        let names = ["config.json", "tokenizer.json", "model.safetensors"];
        let mut bytes = 0;
        let mut files = serde_json::Map::new();
        for (kind, file) in kinds.iter().zip(names) {
            let path = folder.join(file);
            bytes += fs::metadata(&path)
                .with_context(|| path.display().to_string())?
                .len();
            files.insert((*kind).into(), format!("models/{name}/{file}").into());
        }
        let family = &config["model_type"];
        models.push(
            serde_json::json!({ "name": name, "family": family, "bytes": bytes, "files": files }),
        );
    }
    let sentences =
        [("train", "train"), ("dev", "validation"), ("test", "test")].map(|(split, file)| {
            (
                split.to_owned(),
                format!("tasks/sentences/{file}.jsonl").into(),
            )
        });
    let files: serde_json::Map<_, serde_json::Value> = sentences.into_iter().collect();
    Ok(serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "models": models,
        "tasks": [{ "name": lab::TASK, "title": lab::TITLE, "files": files }],
        "default": { "model": lab::MODEL, "task": lab::TASK },
    }))
}

/// Names of the folders in a folder, sorted; none where it is not there.
fn folders(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// npm under the name it has on this platform.
///
/// # Errors
/// See [`target`].
pub(crate) fn npm<const N: usize>(arguments: [&str; N]) -> Result<Command> {
    command(if cfg!(windows) { "npm.cmd" } else { "npm" }, arguments)
}

fn packages() -> Result<()> {
    let root = root();
    let wanted = last_change(&root.join("package-lock.json"));
    if up_to_date(&root.join("node_modules/.package-lock.json"), wanted) {
        println!("the npm packages are up to date");
        return Ok(());
    }
    run(npm(["ci", "--prefer-offline", "--no-audit", "--no-fund"])?)
}

/// JavaScript and types beside a wasm module, in web/pkg.
fn bindgen(name: &str, folder: &str) -> Result<()> {
    let module = target()?
        .join("wasm32-unknown-unknown/web")
        .join(format!("{name}.wasm"));
    let out = root().join("web/pkg").join(folder);
    let result = out.join(format!("{name}_bg.wasm"));
    let program = std::env::current_exe()?; // another wasm-bindgen is another program
    let newest = last_change(&module).max(last_change(&program));
    if !up_to_date(&result, newest) {
        if out.exists() {
            fs::remove_dir_all(&out).with_context(|| out.display().to_string())?;
        }
        Bindgen::new()
            .input_path(&module)
            .out_name(name)
            .web(true)?
            .typescript(true)
            .remove_name_section(true)
            .remove_producers_section(true)
            .generate(&out)
            .with_context(|| module.display().to_string())?;
    }
    let bytes = fs::metadata(&result)
        .with_context(|| result.display().to_string())?
        .len();
    println!("{name}: {:.1} MB of wasm", bytes as f64 / 1e6);
    Ok(())
}

fn up_to_date(result: &Path, newest_input: Option<SystemTime>) -> bool {
    let made = fs::metadata(result).and_then(|about| about.modified()).ok();
    made.is_some_and(|made| newest_input.is_some_and(|input| input <= made))
}

/// The last change of a file, or of any file below a folder but the page's result.
fn last_change(path: &Path) -> Option<SystemTime> {
    if path.ends_with("web/dist") || path.ends_with("node_modules") {
        return None;
    }
    let about = fs::metadata(path).ok()?;
    if about.is_file() {
        return about.modified().ok();
    }
    let entries = fs::read_dir(path).ok()?.flatten();
    // The folder's own time changes when a file in it goes.
    let own = (!path.ends_with("web"))
        .then(|| about.modified().ok())
        .flatten();
    entries
        .filter_map(|entry| last_change(&entry.path()))
        .max()
        .max(own)
}
