//! Who may ask: requests to this machine's own names, or with the token.
//!
//! The Host header is checked because any web page can make a browser send
//! requests to 127.0.0.1, through a name of theirs that resolves to it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest, Sha256};

const COOKIE: &str = "apet_token";

/// What the page may load. Models may also come from the Hugging Face hub and the hosts
/// that it sends downloads to.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
    worker-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
    connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co; \
    object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// On every answer.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    // Answers are asked for again each time; what has not changed is not sent again.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// What a request is checked against.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Vec<String>,
    token: Option<String>,
    runs: bool,
}

impl Guard {
    /// For a server listening on `address`.
    pub(super) fn new(address: SocketAddr, token: Option<String>) -> Self {
        let port = address.port();
        let names = ["127.0.0.1", "localhost", "[::1]"];
        let mut hosts = names.map(|name| format!("{name}:{port}")).to_vec();
        hosts.push(address.to_string());
        if port == 80 {
            hosts.extend(names.map(str::to_owned)); // browsers leave the default port out
        }
        Self {
            hosts,
            token,
            runs: false,
        }
    }

    /// Whether the page may start runs.
    pub(super) fn allow_runs(&mut self, runs: bool) {
        self.runs = runs;
    }

    pub(super) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    fn knows_host(&self, headers: &HeaderMap) -> bool {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        host.is_some_and(|host| {
            self.hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
        })
    }
}

/// Refuses what may not ask, and puts the security headers on every answer.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refusal(&guard, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

fn refusal(guard: &Guard, request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD)
        && let Some(refusal) = may_not_change(guard, request)
    {
        return Some(refusal);
    }
    match &guard.token {
        // The cookie belongs to the name it was set under: it does the Host check's work.
        Some(token) => without_token(token, request),
        None if guard.knows_host(request.headers()) => None,
        None => {
            let problem = "the Host is not a name of this machine; open the printed address\n";
            Some((StatusCode::MISDIRECTED_REQUEST, problem).into_response())
        }
    }
}

/// `None` for the page's own requests about runs, where it may make them. The Origin is checked because a browser sends it
/// with whatever another page makes it send; the type of the content, because another page cannot send it without asking.
fn may_not_change(guard: &Guard, request: &Request) -> Option<Response> {
    let is_of_runs = matches!(request.uri().path(), "/api/runs" | "/api/runs/stop");
    if !(guard.runs && is_of_runs && *request.method() == Method::POST) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "the server is read only\n").into_response());
    }
    let text = |name: HeaderName| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    let is_own = origin.zip(host).is_some_and(|(origin, host)| {
        let of = origin
            .strip_prefix("http://")
            .or(origin.strip_prefix("https://"));
        of.is_some_and(|of| of.eq_ignore_ascii_case(host))
    });
    if is_own && text(header::CONTENT_TYPE) == Some("application/json") {
        return None;
    }
    let problem = "runs are started from the page that this server sends\n";
    Some((StatusCode::FORBIDDEN, problem).into_response())
}

/// `None` lets the request in. `?token=` becomes a cookie, so that it does not
/// stay in the address line.
fn without_token(token: &str, request: &Request) -> Option<Response> {
    if query_token(request.uri()).is_some_and(|given| same(given, token)) {
        let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/");
        let to = Redirect::to(request.uri().path());
        return Some(([(header::SET_COOKIE, cookie)], to).into_response());
    }
    let text = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let cookies = text(header::COOKIE).unwrap_or_default().split(';');
    let mut cookies = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let known = cookies.any(|(name, given)| name == COOKIE && same(given, token))
        || bearer.is_some_and(|given| same(given, token));
    if known {
        return None;
    }
    Some(
        (
            StatusCode::UNAUTHORIZED,
            "open the address that apet serve printed\n",
        )
            .into_response(),
    )
}

fn query_token(uri: &Uri) -> Option<&str> {
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
}

/// Compares hashes, so that the time taken says nothing about the token.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}
