//! The server over a real socket, and what it refuses.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Guard, Page, Runs, Store, app};

/// A server on a store with one model, one task and one record.
struct Served {
    store: TempDir,
    address: SocketAddr,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn serve(page: Option<&str>, token: Option<&str>) -> Served {
    serve_with(page, token, &[]).await
}

/// The same with devices that the page may start runs on.
async fn serve_with(page: Option<&str>, token: Option<&str>, devices: &[&str]) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("models/tiny/config.json", r#"{"model_type":"bert"}"#);
    write("models/tiny/tokenizer.json", "{}");
    write("models/tiny/model.safetensors", "0123456789");
    write("models/half/config.json", r#"{"model_type":"bert"}"#);
    write("tasks/sentences/train.jsonl", "{}\n");
    write("tasks/sentences/test.jsonl", "{}\n");
    write("runs/abc.jsonl", "{\"kind\":\"header\"}\n");
    write("runs/new.jsonl", ""); // a run that has not begun
    write("runs/abc.theta.safetensors", "secret");
    write("secret.jsonl", "secret");
    let page = match page {
        None => Page::embedded(),
        Some(html) => {
            write("page/index.html", html);
            Page::folder(folder.path().join("page")).unwrap()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::new(address, token.map(str::to_owned));
    let store = Store::at(folder.path());
    let devices: Vec<String> = devices.iter().map(|&device| device.into()).collect();
    let runs = (!devices.is_empty()).then(|| Runs::start(&store, devices).unwrap());
    let app = app(store, page, guard, runs);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Served {
        store: folder,
        address,
    }
}

impl Served {
    async fn connect(&self, request: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let text = format!("{request} HTTP/1.1\r\n{headers}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Sends exactly this request line and these headers.
    async fn send(&self, request: &str, headers: &str) -> Answer {
        let headers = format!("{headers}Connection: close\r\n");
        let mut bytes = Vec::new();
        self.connect(request, &headers)
            .await
            .read_to_end(&mut bytes)
            .await
            .unwrap();
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec())
            .unwrap()
            .to_lowercase();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        let host = format!("Host: {}\r\n", self.address);
        self.send(&format!("GET {path}"), &host).await
    }
}

#[tokio::test]
async fn the_index_lists_what_is_complete() {
    let served = serve(None, None).await;
    let index = served.get("/api/index.json").await.json();
    assert_eq!(index["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(index["models"].as_array().unwrap().len(), 1);
    assert_eq!(index["models"][0]["name"], "tiny");
    assert_eq!(index["models"][0]["family"], "bert");
    assert_eq!(index["models"][0]["bytes"], 33);
    assert_eq!(
        index["models"][0]["files"]["weights"],
        "/models/tiny/model.safetensors"
    );
    assert_eq!(
        index["tasks"][0]["files"]["train"],
        "/tasks/sentences/train.jsonl"
    );
    assert_eq!(index["tasks"][0]["files"]["dev"], serde_json::Value::Null);
    assert_eq!(
        index["tasks"][0]["files"]["test"],
        "/tasks/sentences/test.jsonl"
    );
    assert_eq!(index["default"]["model"], "tiny");
    assert_eq!(index["default"]["task"], "sentences");
}

#[tokio::test]
async fn models_are_sent_whole_and_in_ranges() {
    let served = serve(None, None).await;
    let whole = served.get("/models/tiny/model.safetensors").await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert!(whole.head.contains("content-length: 10"), "{}", whole.head);
    let host = format!("Host: {}\r\n", served.address);
    let request = "GET /models/tiny/model.safetensors";
    let part = served
        .send(request, &format!("{host}Range: bytes=2-4\r\n"))
        .await;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert!(
        part.head.contains("content-range: bytes 2-4/10"),
        "{}",
        part.head
    );
    let beyond = served
        .send(request, &format!("{host}Range: bytes=20-\r\n"))
        .await;
    assert_eq!(beyond.status, 416);

    // What a download that goes on later asks by: the same in every answer.
    let head = served
        .send("HEAD /models/tiny/model.safetensors", &host)
        .await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.head.contains("content-length: 10"), "{}", head.head);
    let line = |answer: &Answer, name: &str| {
        let found = answer.head.lines().find(|line| line.starts_with(name));
        found
            .unwrap_or_else(|| panic!("{}", answer.head))
            .to_owned()
    };
    for name in ["etag: \"", "last-modified: "] {
        assert_eq!(line(&head, name), line(&whole, name));
        assert_eq!(line(&part, name), line(&whole, name));
    }
}

#[tokio::test]
async fn nothing_outside_the_page_and_the_store_is_sent() {
    let served = serve(Some("<p>the page"), None).await;
    let page = served.get("/").await;
    assert_eq!((page.status, page.text().as_str()), (200, "<p>the page"));
    for path in [
        "/../secret.jsonl",
        "/..%2fsecret.jsonl",
        "/%2e%2e/secret.jsonl",
        "/assets/../../secret.jsonl",
        "/models/../secret.jsonl",
        "/models/..%2f..%2fsecret.jsonl",
        "/models/tiny/source.json",
        "/models/tiny/..%2f..%2f..%2fsecret.jsonl",
        "/models/%2e%2e/secret.jsonl",
        "/tasks/..%2f..%2f/secret.jsonl",
        "/tasks/sentences/secret.jsonl",
        "/api/records/..%2fsecret.jsonl",
        "/api/records/%2e%2e%2fsecret.jsonl",
        "/api/records/abc.theta.safetensors",
        "/api/records/..%5csecret.jsonl",
        "//etc/passwd",
        "/%00",
    ] {
        let answer = served.get(path).await;
        assert!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.text().contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn other_names_other_methods_and_embedding_are_refused() {
    let served = serve(Some("<p>the page"), None).await;
    let port = served.address.port();
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1:1",
        "",
    ] {
        let answer = served
            .send("GET /api/records", &format!("Host: {host}\r\n"))
            .await;
        assert_eq!(answer.status, 421, "{host:?}");
        assert!(!answer.text().contains("abc"));
    }
    assert!(
        served.send("GET /api/records", "").await.status >= 400,
        "no Host at all"
    );
    for name in ["localhost", "LOCALHOST", "127.0.0.1"] {
        let answer = served
            .send("GET /", &format!("Host: {name}:{port}\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{name}");
        assert!(
            answer
                .head
                .contains("content-security-policy: default-src 'self'; script-src")
        );
        assert!(answer.head.contains("x-content-type-options: nosniff"));
        assert!(!answer.head.contains("access-control-allow-origin"));
    }
    let post = format!("Host: {}\r\nContent-Length: 0\r\n", served.address);
    assert_eq!(served.send("POST /api/records", &post).await.status, 405);
}

#[tokio::test]
async fn with_a_token_nothing_is_sent_without_it() {
    let token = "a-long-secret-token";
    let served = serve(Some("<p>the page"), Some(token)).await;
    let host = "Host: lab.example:7878\r\n";
    for (path, headers) in [
        ("/", String::new()),
        ("/?token=wrong", String::new()),
        ("/api/records", "Cookie: apet_token=wrong\r\n".into()),
        ("/api/records", "Authorization: Bearer wrong\r\n".into()),
    ] {
        let answer = served
            .send(&format!("GET {path}"), &format!("{host}{headers}"))
            .await;
        assert_eq!(answer.status, 401, "{path}");
    }
    let first = served.send(&format!("GET /?token={token}"), host).await;
    assert_eq!(first.status, 303);
    assert!(first.head.contains("location: /\r\n"), "{}", first.head);
    assert!(
        first.head.contains("httponly; samesite=strict"),
        "{}",
        first.head
    );
    for known in ["Cookie: x=y; apet_token=", "Authorization: Bearer "] {
        let answer = served
            .send("GET /", &format!("{host}{known}{token}\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{known}");
    }
}

#[tokio::test]
async fn records_are_listed_read_and_announced() {
    let served = serve(None, None).await;
    let list = served.get("/api/records").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["file"], "abc.jsonl");
    assert_eq!(list[0]["bytes"], 18);
    assert!(list[0]["modified"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(
        served.get("/api/records/abc.jsonl").await.text(),
        "{\"kind\":\"header\"}\n"
    );
    assert_eq!(served.get("/api/records/none.jsonl").await.status, 404);

    let host = format!("Host: {}\r\n", served.address);
    let stream = served.connect("GET /api/events", &host).await;
    let mut lines = BufReader::new(stream).lines();
    let next = async |lines: &mut tokio::io::Lines<BufReader<TcpStream>>| {
        let wait = async {
            loop {
                let line = lines.next_line().await.unwrap().unwrap();
                if let Some(data) = line.strip_prefix("data: ") {
                    return data.to_owned();
                }
                if line.starts_with("content-type") {
                    assert_eq!(line, "content-type: text/event-stream");
                }
                if line.is_empty() {
                    return String::new();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .unwrap()
    };
    assert_eq!(
        next(&mut lines).await,
        "",
        "the answer's head comes at once"
    );
    let runs = served.store.path().join("runs");
    fs::write(runs.join("new.jsonl"), "x").unwrap();
    let mut data = next(&mut lines).await;
    while data.is_empty() {
        data = next(&mut lines).await;
    }
    assert_eq!(data, r#"{"file":"new.jsonl"}"#);
    fs::remove_file(runs.join("abc.jsonl")).unwrap();
    let mut data = next(&mut lines).await;
    while data.is_empty() {
        data = next(&mut lines).await;
    }
    assert_eq!(data, r#"{"file":"abc.jsonl"}"#);
}

#[tokio::test]
async fn a_page_folder_without_a_page_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let e = Page::folder(folder.path().into()).unwrap_err().to_string();
    assert!(
        e.contains("index.html not found, expected the built page"),
        "{e}"
    );
}

impl Served {
    /// Posts JSON as the page does, or with other headers.
    async fn post(&self, path: &str, origin: &str, kind: &str, body: &str) -> Answer {
        let headers = format!(
            "Host: {}\r\nOrigin: {origin}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let text = format!("POST {path} HTTP/1.1\r\n{headers}\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }
}

const SPEC: &str = r#"{"model":"tiny","task":{"name":"sentences"}}"#;

#[tokio::test]
async fn runs_are_started_by_the_servers_own_page_only_and_where_they_are_allowed() {
    let wanted = format!(r#"{{"spec":{SPEC},"device":"cpu"}}"#);
    let json = "application/json";
    let closed = serve(None, None).await;
    let own = format!("http://{}", closed.address);
    assert_eq!(
        closed.post("/api/runs", &own, json, &wanted).await.status,
        405
    );
    assert!(closed.get("/api/index.json").await.json()["devices"].is_null());

    let open = serve_with(None, None, &["cpu", "vulkan:9"]).await;
    let own = format!("http://{}", open.address);
    let index = open.get("/api/index.json").await.json();
    assert_eq!(index["devices"], serde_json::json!(["cpu", "vulkan:9"]));
    for (path, origin, kind, status) in [
        ("/api/runs", "http://example.org", json, 403),
        ("/api/runs", "null", json, 403),
        ("/api/runs", &own[..], "text/plain", 403),
        ("/api/records", &own[..], json, 405),
        ("/models/tiny/config.json", &own[..], json, 405),
    ] {
        let answer = open.post(path, origin, kind, &wanted).await;
        assert_eq!(answer.status, status, "{path} {origin} {kind}");
    }
    let jobs = open.get("/api/runs").await.json();
    assert_eq!(jobs, serde_json::json!([]), "none was begun");
    for (body, names) in [
        (
            wanted.replace("\"cpu\"", "\"cuda:7\""),
            "device: found \"cuda:7\"",
        ),
        (wanted.replace("tiny\"", "tiny\",\"colour\":1"), "colour"),
        (wanted.replace("tiny\"", "../tiny\""), "model: "),
        (wanted.replace("\"sentences", "\"/etc"), "task.name: "),
        (
            wanted.replace("\"task\":{", "\"train\":{\"steps\":0},\"task\":{"),
            "train.steps",
        ),
    ] {
        let answer = open.post("/api/runs", &own, json, &body).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(names), "{}", answer.text());
    }
    let none = r#"{"run":"0123456789abcdef","device":"cpu"}"#;
    assert_eq!(
        open.post("/api/runs/stop", &own, json, none).await.status,
        400
    );
}
