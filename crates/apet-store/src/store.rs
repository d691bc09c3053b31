//! The store: a directory of models, tasks and runs.
//!
//! ```text
//! models/NAME/{config.json, tokenizer.json, model.safetensors, source.json}
//! tasks/NAME/{train,validation,test}.jsonl
//! masks/HASH.safetensors
//! starts/HASH.safetensors
//! runs/RUNID-DEVICE.{jsonl, theta.safetensors, checkpoint.safetensors}
//! ```
//! A file is there in full or not at all: it is written under a temporary name,
//! synced, and renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Where the store is, if not in the platform's data directory.
pub const HOME_VARIABLE: &str = "APET_HOME";

/// What a model consists of.
pub const MODEL_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// The splits a task may have; `train.jsonl` it must have.
pub const TASK_FILES: [&str; 3] = ["train.jsonl", "validation.jsonl", "test.jsonl"];

/// The store's directory. Nothing is created before something is written.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// `$APET_HOME`, else `apet-lab` in the platform's data directory.
    ///
    /// # Errors
    /// When neither is known.
    pub fn open() -> Result<Self> {
        if let Some(home) = std::env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty()) {
            return Ok(Self::at(home));
        }
        let data = dirs::data_dir().with_context(|| {
            format!("found no data directory of this user; set {HOME_VARIABLE} to a directory")
        })?;
        Ok(Self::at(data.join("apet-lab")))
    }

    /// The store in `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where model `name` is or would be. `name` must have passed [`check_name`].
    pub fn model(&self, name: &str) -> PathBuf {
        self.root.join("models").join(name)
    }

    /// Where task `name` is or would be. `name` must have passed [`check_name`].
    pub fn task(&self, name: &str) -> PathBuf {
        self.root.join("tasks").join(name)
    }

    /// Where records, thetas and checkpoints are.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Where the mask with a hash is kept, as it stands in specs.
    pub fn mask(&self, hash: &str) -> PathBuf {
        self.root.join("masks").join(format!("{hash}.safetensors"))
    }

    /// Where a theta is kept that specs are initialised from, by its hash.
    pub fn start(&self, hash: &str) -> PathBuf {
        self.root.join("starts").join(format!("{hash}.safetensors"))
    }

    /// Where a download waits until it is used; it may be deleted at any time.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Names of the models that are there in full, sorted.
    pub fn models(&self) -> Vec<String> {
        self.names("models", |dir| {
            MODEL_FILES.iter().all(|file| dir.join(file).is_file())
        })
    }

    /// Names of the tasks that have training rows, sorted.
    pub fn tasks(&self) -> Vec<String> {
        self.names("tasks", |dir| dir.join(TASK_FILES[0]).is_file())
    }

    fn names(&self, kind: &str, complete: impl Fn(&Path) -> bool) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(kind)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| complete(&entry.path()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| check_name(name).is_ok())
            .collect();
        names.sort();
        names
    }
}

/// A name of a model, task or record is one plain path component.
///
/// # Errors
/// For an empty name, a leading dot, or a character other than letters, digits, `.`, `_`, `-`.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ensure!(
        !name.is_empty() && !name.starts_with('.') && name.chars().all(plain),
        "the name {name:?} cannot be used, expected letters, digits, \".\", \"_\" and \"-\", \
         the first not a dot"
    );
    Ok(())
}

/// Writes `path` in full or not at all: what `write` writes goes to a temporary
/// file in the same directory, which is synced and renamed when `write` succeeds.
///
/// # Errors
/// What `write` returns, or the file system's reason; `path` is as it was then.
pub fn write_atomic<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{}: expected the path of a file", path.display());
    };
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let at = |e: io::Error| anyhow::Error::new(e).context(path.display().to_string());
    fs::create_dir_all(folder).map_err(at)?;
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(mode); // the user's umask decides, as for any other file
    let temporary = builder.tempfile_in(folder).map_err(at)?;
    let mut out = BufWriter::with_capacity(1 << 20, temporary.as_file());
    let value = write(&mut out)?;
    out.flush().map_err(at)?;
    drop(out);
    temporary.as_file().sync_all().map_err(at)?;
    temporary.persist(path).map_err(|e| at(e.error))?;
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(at)?;
    Ok(value)
}

/// Copies `from` into `to`, and says its SHA-256 and length.
///
/// # Errors
/// When reading or writing fails.
pub fn copy_hashed(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let n = from.read(&mut buffer)?;
        let Some(piece) = buffer.get(..n).filter(|piece| !piece.is_empty()) else {
            return Ok((format!("{:x}", hash.finalize()), length));
        };
        hash.update(piece);
        to.write_all(piece)?;
        length += n as u64;
    }
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let hashed = File::open(path).and_then(|mut file| copy_hashed(&mut file, &mut io::sink()));
    Ok(hashed.with_context(|| path.display().to_string())?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|e| e.file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/x.json");
        write_atomic(&path, |out| Ok(out.write_all(b"old")?)).unwrap();
        let failed: Result<()> = write_atomic(&path, |out| {
            out.write_all(b"half of the n")?;
            bail!("the power went")
        });
        assert_eq!(failed.unwrap_err().to_string(), "the power went");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(files(path.parent().unwrap()), ["x.json"]);
        write_atomic(&path, |out| Ok(out.write_all(b"new")?)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn names_are_one_plain_component() {
        for good in ["minilm-l6", "a", "b69590d18286b867.jsonl", "A_b.c-d"] {
            check_name(good).unwrap();
        }
        for bad in [
            "", ".", "..", ".hidden", "a/b", "a\\b", "a b", "é", "a\0", "C:x",
        ] {
            check_name(bad).unwrap_err();
        }
    }

    #[test]
    fn only_complete_models_and_tasks_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        assert!(store.models().is_empty() && store.tasks().is_empty());
        for file in MODEL_FILES {
            write_atomic(&store.model("full").join(file), |_| Ok(())).unwrap();
        }
        write_atomic(&store.model("half").join("config.json"), |_| Ok(())).unwrap();
        write_atomic(&store.task("t").join("train.jsonl"), |_| Ok(())).unwrap();
        write_atomic(&store.task("no train").join("test.jsonl"), |_| Ok(())).unwrap();
        assert_eq!(store.models(), ["full"]);
        assert_eq!(store.tasks(), ["t"]);
    }

    #[test]
    fn a_copy_says_its_hash_and_length() {
        let mut copy = Vec::new();
        let (hash, length) = copy_hashed(&mut &b"abc"[..], &mut copy).unwrap();
        assert_eq!((copy.as_slice(), length), (&b"abc"[..], 3));
        assert_eq!(
            hash,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
