//! A file as its source gives it, before it is checked and stored.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::convert::AsSafetensors;
use crate::weights;

/// A file as its source gives it, not yet checked.
pub(crate) struct SourceFile {
    /// Its bytes.
    pub(crate) bytes: Box<dyn Read>,
    /// How many bytes, where the source says.
    pub(crate) length: Option<u64>,
    /// SHA-256 they must have, where it is known.
    pub(crate) sha256: Option<String>,
    /// Where they come from, for messages and for the store.
    pub(crate) origin: String,
}

/// Opens a file of a local directory.
///
/// # Errors
/// Names the file and the file system's reason.
pub(crate) fn open_file(path: &Path, sha256: Option<String>) -> Result<SourceFile> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let about = file
        .metadata()
        .with_context(|| path.display().to_string())?;
    ensure!(about.is_file(), "{}: expected a file", path.display());
    Ok(SourceFile {
        bytes: Box::new(file),
        length: Some(about.len()),
        sha256,
        origin: path.display().to_string(),
    })
}

/// Opens a file of a Hugging Face directory. Weights that are there in another format are read
/// as `model.safetensors`, unless they must be the very file with `sha256`.
///
/// # Errors
/// Names the file, what was found and what was expected.
pub(crate) fn open_in(folder: &Path, file: &str, sha256: Option<String>) -> Result<SourceFile> {
    let path = folder.join(file);
    if file != weights::WEIGHTS || sha256.is_some() || path.is_file() {
        return open_file(&path, sha256);
    }
    let shown = folder.display().to_string();
    let weights = AsSafetensors::new(weights::weights(folder, &shown)?)?;
    Ok(SourceFile {
        length: Some(weights.length()),
        bytes: Box::new(weights),
        sha256,
        origin: format!("{shown} (converted)"),
    })
}

/// Says so when a file is not the published one.
pub(crate) fn check_sha256(file: &str, found: &str, expected: &str) -> Result<()> {
    ensure!(
        found == expected,
        "{file}: found SHA-256 {found}, expected {expected}; the file is damaged or another one"
    );
    Ok(())
}
