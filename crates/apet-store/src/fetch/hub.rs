//! The Hugging Face hub: a repository's files, in the cache that all programs share.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use super::source_file::{SourceFile, check_sha256, open_in};
use crate::store::{self, MODEL_FILES, check_name};
use crate::weights::{WEIGHTS, WeightsFormat};

/// Seconds to wait before a download that was cut goes on.
const WAITS: [u64; 2] = [1, 2];

/// A model's repository on the hub: `ORG/REPO`, or `ORG/REPO@REVISION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// `ORG/REPO`.
    pub(crate) id: String,
    /// A branch, a tag or a commit.
    revision: String,
}

impl Repository {
    /// The main branch of `id`.
    pub(crate) fn main(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            revision: "main".into(),
        }
    }

    /// What `text` names, where it names a repository.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let plain = |text: &str| text.split('/').all(|part| check_name(part).is_ok());
        let good = plain(id) && plain(revision) && id.matches('/').count() == 1;
        good.then(|| Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// Its names in the store, the first that is free counts: `repo`, `org-repo`.
    pub(crate) fn names(&self) -> [String; 2] {
        let id = self.id.to_lowercase();
        let last = id.rsplit('/').next().unwrap_or_default();
        [last.to_owned(), id.replace('/', "-")]
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, revision.to_owned())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

/// A commit of a repository.
#[derive(Debug)]
struct Snapshot {
    commit: String,
    /// Its files in the cache, as a Hugging Face directory.
    folder: PathBuf,
    /// Its files on the hub; none where the hub was not asked.
    files: Option<Vec<String>>,
}

impl Snapshot {
    fn has(&self, file: &str) -> bool {
        let listed = |files: &Vec<String>| files.iter().any(|name| name == file);
        self.files.as_ref().is_some_and(listed) || self.folder.join(file).exists()
    }

    /// Whether the cache has a whole model.
    fn is_whole(&self) -> bool {
        let there = |file: &str| self.folder.join(file).exists();
        let weights =
            WeightsFormat::detect(there).and_then(|format| format.files(&self.folder, "").ok());
        there(MODEL_FILES[0])
            && there(MODEL_FILES[1])
            && weights.is_some_and(|files| files.iter().all(|file| there(file)))
    }
}

/// The hub, as its environment variables say: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`,
/// `HF_HUB_CACHE`, `HF_HUB_OFFLINE`.
pub(crate) struct Hub {
    endpoint: String,
    offline: bool,
    /// Never shown.
    token: Option<String>,
    cache: Cache,
    /// Asked once: a hub that does not answer is not asked for every file.
    reachable: OnceCell<Result<(), String>>,
    /// SourceFile once, so that all files of a repository are of one commit.
    snapshots: RefCell<BTreeMap<String, Rc<Snapshot>>>,
}

impl Hub {
    /// The hub of this environment.
    ///
    /// # Errors
    /// When it is not known where its cache is.
    pub(crate) fn from_env() -> Result<Self> {
        let set = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let folder = |name| set(name).map(PathBuf::from);
        let home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| dirs::home_dir().map(|home| home.join(".cache/huggingface")))
            .context("found no home directory of this user; set HF_HOME to a directory")?;
        let token = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = set("HF_TOKEN").or_else(|| fs::read_to_string(token).ok());
        let offline = set("HF_HUB_OFFLINE").map(|value| value.to_uppercase());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            offline: matches!(offline.as_deref(), Some("1" | "ON" | "YES" | "TRUE")),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            cache: Cache::new(folder("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"))),
            reachable: OnceCell::new(),
            snapshots: RefCell::default(),
        })
    }

    /// Opens one of `MODEL_FILES`, brought into the cache where it is not there yet. Weights
    /// in another format are read as `model.safetensors`, unless `sha256` pins them.
    ///
    /// # Errors
    /// What the hub says, and what to do.
    pub(crate) fn open(
        &self,
        repository: &Repository,
        file: &str,
        sha256: Option<String>,
    ) -> Result<SourceFile> {
        let snapshot = self.snapshot(repository)?;
        if file == WEIGHTS {
            self.bring_weights(repository, &snapshot)?;
        } else {
            self.bring(repository, &snapshot, file)?;
        }
        let mut found = open_in(&snapshot.folder, file, sha256)?;
        let format = match snapshot.folder.join(file).is_file() {
            true => "",
            false => " (converted)",
        };
        found.origin = format!("hub:{repository}/{file}{format}");
        Ok(found)
    }

    /// The commit that the cache has whole, or else the hub's of today.
    fn snapshot(&self, repository: &Repository) -> Result<Rc<Snapshot>> {
        let key = repository.to_string();
        if let Some(snapshot) = self.snapshots.borrow().get(&key) {
            return Ok(Rc::clone(snapshot));
        }
        let repo = repository.at(&repository.revision);
        let refs = self.cache.path().join(repo.folder_name()).join("refs");
        // A branch or a tag is a file with a commit; a commit has none.
        let commit = fs::read_to_string(refs.join(&repository.revision))
            .map_or_else(|_| repository.revision.clone(), |c| c.trim().to_owned());
        let cache = self.cache.repo(repo.clone());
        let mut snapshot = Snapshot {
            folder: cache.pointer_path(&commit),
            commit,
            files: None,
        };
        if !self.offline && !snapshot.is_whole() {
            let api = self.api(repository)?.repo(repo);
            let info = api.info().map_err(|e| self.refused(repository, &key, &e))?;
            // It becomes a part of paths.
            check_name(&info.sha).with_context(|| format!("the commit of {repository}"))?;
            let names = info.siblings.into_iter().map(|file| file.rfilename);
            snapshot = Snapshot {
                folder: cache.pointer_path(&info.sha),
                commit: info.sha,
                files: Some(names.collect()),
            };
        }
        let snapshot = Rc::new(snapshot);
        let mut snapshots = self.snapshots.borrow_mut();
        snapshots.insert(key, Rc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Brings the weights in the first format there is.
    fn bring_weights(&self, repository: &Repository, snapshot: &Snapshot) -> Result<()> {
        // Of a repository without weights it is said that it has not even these.
        let format =
            WeightsFormat::detect(|file| snapshot.has(file)).unwrap_or(WeightsFormat::ONE_FILE);
        self.bring(repository, snapshot, format.file)?;
        for file in format.files(&snapshot.folder, &repository.to_string())? {
            self.bring(repository, snapshot, &file)?;
        }
        Ok(())
    }

    /// Brings a file into the cache. One that is there and whole is not fetched again.
    fn bring(&self, repository: &Repository, snapshot: &Snapshot, file: &str) -> Result<()> {
        let path = snapshot.folder.join(file);
        let cache = self.cache.path().display();
        if path.exists() {
            match check(&path) {
                Err(e) if self.offline => {
                    return Err(anyhow!("{e:#}: unset HF_HUB_OFFLINE to fetch it again"));
                }
                Err(_) => discard(&path),
                Ok(()) => return Ok(()),
            }
        }
        ensure!(
            !self.offline,
            "HF_HUB_OFFLINE is set and the cache in {cache} does not have {repository}/{file}; \
             unset it to download"
        );
        ensure!(
            snapshot.files.is_none() || snapshot.has(file),
            "{}/{} has no {file}, expected a model with config.json, tokenizer.json and weights ({})",
            self.endpoint,
            repository,
            WeightsFormat::EXPECTED
        );
        self.download(repository, snapshot, file)?;
        check(&path).map_err(|e| {
            discard(&path);
            anyhow!("{e:#}: fetch it again")
        })
    }

    fn download(&self, repository: &Repository, snapshot: &Snapshot, file: &str) -> Result<()> {
        let api = self.api(repository)?;
        let repo = api.repo(repository.at(&snapshot.commit));
        let mut waits = WAITS.iter();
        while let Err(e) = repo.download(file) {
            let wait = waits.next().filter(|_| passes(&e));
            let Some(&wait) = wait else {
                return Err(self.refused(repository, &format!("{repository}/{file}"), &e));
            };
            if matches!(e, ApiError::InvalidResume) || status(&e) == Some(416) {
                // All is there, or more than all: it cannot go on, so it begins again.
                let about = api.metadata(&repo.url(file));
                let blobs = self.cache.repo(repository.at(&snapshot.commit));
                let part = about.map(|about| blobs.blob_path(about.etag()).with_extension("part"));
                let _ = part.map(fs::remove_file);
            } else {
                thread::sleep(Duration::from_secs(wait));
            }
        }
        // For the next time, and for other programs: what the branch was today.
        let branch = self.cache.repo(repository.at(&repository.revision));
        branch
            .create_ref(&snapshot.commit)
            .with_context(|| format!("{}: {repository}", self.cache.path().display()))
    }

    fn api(&self, repository: &Repository) -> Result<Api> {
        self.reachable
            .get_or_init(|| self.ask())
            .clone()
            .map_err(|reason| anyhow!("{reason}"))?;
        // hf-hub's own retries append to a file from its beginning.
        ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_retries(0)
            .with_user_agent("apet", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| self.refused(repository, &repository.to_string(), &e))
    }

    /// Any answer will do; none within a few seconds is a reason to go elsewhere.
    fn ask(&self) -> Result<(), String> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(8)))
            .http_status_as_error(false)
            .build()
            .into();
        match agent.head(&self.endpoint).call() {
            Ok(_) => Ok(()),
            Err(e) => Err(format!(
                "{} does not answer ({e}); check the network, or set HF_ENDPOINT to a hub that does",
                self.endpoint
            )),
        }
    }

    /// What the hub said to a request for `what`, and what to do.
    fn refused(&self, repository: &Repository, what: &str, e: &ApiError) -> Error {
        let endpoint = &self.endpoint;
        match status(e) {
            Some(404) => {
                anyhow!("{endpoint} has no {what} (404); check the name and the revision")
            }
            Some(code @ (401 | 403)) => {
                let token = match self.token {
                    Some(_) => "the token that was sent is not enough: set HF_TOKEN to another",
                    None => "set HF_TOKEN to a token",
                };
                anyhow!(
                    "{endpoint} does not give {what} ({code}): it is gated, private or not there; \
                     check the name, accept the terms at {endpoint}/{}, then {token} of an account \
                     that may read it",
                    repository.id
                )
            }
            _ => anyhow!(
                "{endpoint} did not give {what} in full ({e}); fetch again to resume from what \
                 is in {}",
                self.cache.path().display()
            ),
        }
    }
}

fn status(e: &ApiError) -> Option<u16> {
    match e {
        ApiError::RequestError(e) => match **e {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the same request may do better in a second.
fn passes(e: &ApiError) -> bool {
    let waits_already = matches!(e, ApiError::LockAcquisition(_));
    !waits_already && !matches!(status(e), Some(400..=415 | 417..=428 | 430..=499))
}

/// Refuses a damaged file. The cache links a large file's name to an object whose name is
/// its SHA-256; others are named by git's SHA-1, and are texts that are read in full.
fn check(path: &Path) -> Result<()> {
    let object = fs::canonicalize(path).with_context(|| path.display().to_string())?;
    let name = object
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if name.len() != 64 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    check_sha256(&path.display().to_string(), &store::sha256(&object)?, name)
}

/// Deletes a file of the cache and its object. What cannot be deleted is found again.
fn discard(path: &Path) {
    if let Ok(object) = fs::canonicalize(path) {
        let _ = fs::remove_file(object);
    }
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_two_plain_names_and_a_revision() {
        let repository = Repository::parse("HuggingFaceTB/SmolLM2-135M").unwrap();
        assert_eq!(repository, Repository::main("HuggingFaceTB/SmolLM2-135M"));
        assert_eq!(repository.to_string(), "HuggingFaceTB/SmolLM2-135M");
        assert_eq!(
            repository.names(),
            ["smollm2-135m", "huggingfacetb-smollm2-135m"]
        );
        let repository = Repository::parse("a/B@refs/pr/1").unwrap();
        assert_eq!(repository.to_string(), "a/B@refs/pr/1");
        for bad in [
            "",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "./b",
            "../b",
            "a/b@",
            "a/b@../c",
            "a/b@c@d",
            "a b/c",
            "a\\b/c",
            "https://a/b",
        ] {
            assert_eq!(Repository::parse(bad), None, "{bad}");
        }
    }
}
