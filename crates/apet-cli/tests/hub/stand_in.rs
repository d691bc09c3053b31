//! A stand-in for the Hugging Face hub: what it answers is what the hub answers, redirects
//! included; what it is asked is kept.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::fixture;

/// The commit of every branch.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One repository.
#[derive(Clone, Default)]
pub(crate) struct Hub(Arc<Mutex<Inner>>);

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) address: String,
    /// Its name.
    pub(crate) id: &'static str,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// SHA-256 that it says of a file, where that is not the file's.
    pub(crate) hashes: BTreeMap<String, String>,
    /// Requests whose path has this in it get this status.
    pub(crate) refused: Option<(&'static str, u16)>,
    /// Bodies of more than a few bytes end in their middle.
    pub(crate) cuts: bool,
    pub(crate) asked: Vec<Asked>,
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) range: String,
}

impl Hub {
    /// With the files of bert-tiny; answers on a separate thread until the test's process ends.
    pub(crate) fn start(files: &[&str]) -> Self {
        let hub = Self::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        hub.with(|hub| {
            hub.id = "Lab/Wee-Bert";
            hub.address = listener.local_addr().unwrap().to_string();
            hub.files = files.iter().map(|f| (f.to_string(), fixture(f))).collect();
        });
        let app = Router::new().fallback(answer).with_state(hub.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        hub
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    pub(crate) fn put(&self, file: &str, bytes: impl Into<Vec<u8>>) {
        self.with(|hub| hub.files.insert(file.to_owned(), bytes.into()));
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.with(|hub| std::mem::take(&mut hub.asked))
    }
}

async fn answer(State(hub): State<Hub>, request: Request) -> Response<Body> {
    hub.with(|hub| hub.answer(request.uri().path(), request.headers()))
}

impl Inner {
    fn answer(&mut self, path: &str, headers: &HeaderMap) -> Response<Body> {
        let sent = |name: header::HeaderName| {
            let value = headers.get(name).map(|value| value.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        let range = sent(header::RANGE);
        self.asked.push(Asked {
            path: path.to_owned(),
            token: sent(header::AUTHORIZATION),
            range: range.clone(),
        });
        let builder = Response::builder().header("x-repo-commit", COMMIT);
        let status = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            Response::builder()
                .status(status)
                .body(Body::empty())
                .unwrap()
        };
        if let Some((_, code)) = self.refused.filter(|(part, _)| path.contains(part)) {
            return status(code);
        }
        let api = format!("/api/models/{}/revision/", self.id);
        if let Some(revision) = path.strip_prefix(&api) {
            if !["main", "v1", COMMIT].contains(&revision) {
                return status(404);
            }
            let names = self.files.keys();
            let siblings: Vec<_> = names
                .map(|n| serde_json::json!({ "rfilename": n }))
                .collect();
            let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
            return builder.body(info.to_string().into()).unwrap();
        }
        let resolve = format!("/{}/resolve/{COMMIT}/", self.id);
        let (place, file) = match path.strip_prefix(&resolve) {
            Some(file) => ("resolve", file),
            None => path.split_once("/of/").unwrap_or_default(),
        };
        let Some(bytes) = self.files.get(file) else {
            return status(if path == "/" { 200 } else { 404 });
        };
        let is_large = !file.ends_with(".json");
        let own = || format!("{:x}", Sha256::digest(bytes));
        let hash = self.hashes.get(file).cloned().unwrap_or_else(own);
        let etag = if is_large { &hash } else { &hash[..40] };
        if place == "resolve" {
            // Texts are on the same host, large files on another.
            let (code, location) = match is_large {
                true => (302, format!("http://{}/large/of/{file}", self.address)),
                false => (307, format!("/texts/of/{file}")),
            };
            let builder = builder.status(code).header(header::LOCATION, location);
            let builder = builder.header("x-linked-etag", format!("\"{etag}\""));
            return builder.body(Body::empty()).unwrap();
        }
        let (first, last) = range["bytes=".len()..].split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let end = last.parse().map_or(bytes.len(), |last: usize| last + 1);
        let Some(part) = bytes.get(first..end).filter(|part| !part.is_empty()) else {
            return status(416);
        };
        let builder = builder
            .status(206)
            .header(header::ETAG, format!("\"{etag}\""))
            .header(header::CONTENT_LENGTH, part.len())
            .header(
                header::CONTENT_RANGE,
                format!("bytes {first}-{}/{}", end - 1, bytes.len()),
            );
        let cut = self.cuts && part.len() > 100_000;
        let part = if cut { &part[..part.len() / 2] } else { part };
        let part = Bytes::copy_from_slice(part);
        let end = stream::iter(cut.then_some(())).then(|()| async {
            // What was sent has left by then.
            tokio::time::sleep(Duration::from_millis(100)).await;
            Err(io::Error::other("the cable is out"))
        });
        let body = Body::from_stream(stream::iter([Ok(part)]).chain(end));
        builder.body(body).unwrap()
    }
}
