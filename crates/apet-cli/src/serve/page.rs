//! The page: built by Vite into `web/dist`, and inside the binary.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use apet_store::builtin::{Embedded, sha256};
use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower_http::services::ServeDir;

const ABSENT: &str = "this apet was built without the page; build it with: cargo xtask build\n";

/// Where the page is.
#[derive(Debug)]
pub(crate) enum Page {
    /// In the binary.
    Embedded,
    /// In a folder.
    Folder(PathBuf),
}

impl Page {
    /// The page in the binary.
    pub(crate) fn embedded() -> Self {
        Self::Embedded
    }

    /// The page in `folder`.
    ///
    /// # Errors
    /// When there is no index.html.
    pub(crate) fn folder(folder: PathBuf) -> Result<Self> {
        let index = folder.join("index.html");
        ensure!(
            index.is_file(),
            "--page: {} not found, expected the built page",
            index.display()
        );
        Ok(Self::Folder(folder))
    }

    /// What answers a request for a part of the page.
    pub(crate) fn service(self) -> Router {
        match self {
            Self::Embedded => Router::new().fallback(embedded),
            Self::Folder(folder) => Router::new().fallback_service(ServeDir::new(folder)),
        }
    }
}

async fn embedded(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = Embedded::get(path) else {
        let (status, text) = match path {
            "index.html" => (StatusCode::SERVICE_UNAVAILABLE, ABSENT),
            _ => (StatusCode::NOT_FOUND, "not found\n"),
        };
        return (status, text).into_response();
    };
    let tag = format!("\"{}\"", sha256(&file));
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let headers = [
        (header::CONTENT_TYPE, kind.to_string()),
        (header::ETAG, tag),
    ];
    (headers, file.data).into_response()
}
