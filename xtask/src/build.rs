//! Builds wasm, page and binary. Unchanged parts are not rebuilt: cargo tracks its own,
//! the rest is compared by modification time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::generate;
use crate::lab;
use crate::setup;
use crate::step::{cargo, command, root, run, step, target};

const TARGET: [&str; 4] = ["--profile", "web", "--target", "wasm32-unknown-unknown"];

/// The crates of the page, and their folders in web/pkg.
const WASM: [(&str, &str); 2] = [("apet_web", "lab"), ("apet_view", "view")];

/// The packages of the page, for cargo.
const WASM_PACKAGES: [&str; 4] = ["-p", "apet-web", "-p", "apet-view"];

/// The selection of packages for every native build, so that features are the
/// same and the dependencies are built once.
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

/// A cargo command for the native crates.
///
/// # Errors
/// See [`target`].
pub(crate) fn native(verb: &str) -> Result<Command> {
    cargo([verb].into_iter().chain(NATIVE))
}

/// A cargo command for the page's crates.
///
/// # Errors
/// See [`target`].
pub(crate) fn web(verb: &str) -> Result<Command> {
    cargo([verb].into_iter().chain(TARGET).chain(WASM_PACKAGES))
}

/// The path of the built binary.
///
/// # Errors
/// See [`target`].
pub(crate) fn apet() -> Result<PathBuf> {
    let name = format!("apet{}", std::env::consts::EXE_SUFFIX);
    Ok(target()?.join("release").join(name))
}

/// Sets up the machine, and builds page and binary.
///
/// # Errors
/// Names what is missing, or the command that failed.
pub(crate) fn everything() -> Result<()> {
    step("set-up", setup::for_build)?;
    page()?;
    binary()
}

/// Builds the binary, with the page embedded.
///
/// # Errors
/// The command that failed.
pub(crate) fn binary() -> Result<()> {
    step("binary", || run(native("build")?))
}

/// Writes the files that are generated from the types of a spec.
///
/// # Errors
/// Names what is missing, or the command that failed.
pub(crate) fn generated() -> Result<()> {
    packages()?;
    generate::write()
}

/// Builds the wasm modules, then the page.
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
    step("types from the schema", generate::write)?;
    step("models and tasks of the page", write_bundled_files)?;
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

/// Writes the page as a folder for any static host, under any path; it needs no special headers.
///
/// # Errors
/// Names what is missing or the command that failed, or says that the folder exists and is not an earlier page.
pub(crate) fn site(folder: &Path) -> Result<()> {
    step("set-up", setup::for_build)?;
    page()?;
    let shown = folder.display();
    if folder.exists() {
        ensure!(
            folder.join("index.html").is_file() && folder.join("api/index.json").is_file(),
            "{shown}: exists and is not an earlier page; choose a folder that does not exist"
        );
        fs::remove_dir_all(folder).with_context(|| shown.to_string())?;
    }
    copy(&root().join("web/dist"), folder).with_context(|| shown.to_string())?;
    println!("{shown}: upload this folder to any static host");
    Ok(())
}

/// Copies a folder recursively.
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

/// Writes the files that the page has without a server: the models of web/public, the task `sentences`, and their index.
fn write_bundled_files() -> Result<()> {
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

/// `api/index.json` for the page as a folder, as `apet serve` returns it.
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

/// The names of the folders in a folder, sorted; empty if it does not exist.
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

/// An npm command, under the platform's name for npm.
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

/// Generates JavaScript and types for a wasm module, in web/pkg.
fn bindgen(name: &str, folder: &str) -> Result<()> {
    let module = target()?
        .join("wasm32-unknown-unknown/web")
        .join(format!("{name}.wasm"));
    let out = root().join("web/pkg").join(folder);
    let result = out.join(format!("{name}_bg.wasm"));
    let program = std::env::current_exe()?; // this program contains wasm-bindgen: its version changes the output
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

/// The latest modification time of a file, or of any file below a folder except the page's output.
fn last_change(path: &Path) -> Option<SystemTime> {
    if path.ends_with("web/dist") || path.ends_with("node_modules") {
        return None;
    }
    let about = fs::metadata(path).ok()?;
    if about.is_file() {
        return about.modified().ok();
    }
    let entries = fs::read_dir(path).ok()?.flatten();
    // The folder's own time changes when a file in it is deleted.
    let own = (!path.ends_with("web"))
        .then(|| about.modified().ok())
        .flatten();
    entries
        .filter_map(|entry| last_change(&entry.path()))
        .max()
        .max(own)
}
