//! What the page reads of the store: models, tasks, records, and when records change.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apet_store::{MODEL_FILES, Store, TASK_FILES, builtin::DEFAULTS, check_name, fetch::family};
use axum::extract::{self, Request, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::{Router, routing::get};
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

/// How often the records are looked at for events.
const TICK: Duration = Duration::from_secs(1);

/// The routes under /api, /models and /tasks.
pub(super) fn routes(store: Store, devices: Vec<String>) -> Router {
    let index = move |State(store): State<Arc<Store>>| index(store, devices.clone());
    Router::new()
        .route("/api/index.json", get(index))
        .route("/api/records", get(records))
        .route("/api/records/{file}", get(record))
        .route("/api/events", get(events))
        .route("/models/{name}/{file}", get(model_file))
        .route("/tasks/{name}/{file}", get(task_file))
        .with_state(Arc::new(store))
}

/// `/api/index.json`
#[derive(Serialize)]
struct Index {
    version: &'static str,
    models: Vec<Model>,
    tasks: Vec<Task>,
    default: Default,
    /// The devices that the page may start runs on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<String>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    family: String,
    bytes: u64,
    files: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Task {
    name: String,
    title: String,
    files: BTreeMap<&'static str, String>,
}

/// `null` where the store is empty.
#[derive(Serialize)]
struct Default {
    model: Option<String>,
    task: Option<String>,
}

async fn index(store: Arc<Store>, devices: Vec<String>) -> Json<Index> {
    let models: Vec<Model> = store
        .models()
        .into_iter()
        .filter_map(|name| model(&store, name))
        .collect();
    let tasks: Vec<Task> = store
        .tasks()
        .into_iter()
        .map(|name| task(&store, name))
        .collect();
    let preferred = |names: Vec<&String>, wanted: &str| {
        let found = names.iter().find(|name| **name == wanted).or(names.first());
        found.map(|&name| name.clone())
    };
    let default = Default {
        model: preferred(models.iter().map(|m| &m.name).collect(), DEFAULTS.0),
        task: preferred(tasks.iter().map(|t| &t.name).collect(), DEFAULTS.1),
    };
    Json(Index {
        version: env!("CARGO_PKG_VERSION"),
        models,
        tasks,
        default,
        devices,
    })
}

/// `None` for a model whose config says no family: nothing can be done with it.
fn model(store: &Store, name: String) -> Option<Model> {
    let folder = store.model(&name);
    let family = family(&fs::read_to_string(folder.join(MODEL_FILES[0])).ok()?).ok()?;
    let sizes = MODEL_FILES.iter().map(|file| size(&folder.join(file)));
    let bytes = sizes.sum();
    let kinds = ["config", "tokenizer", "weights"];
    let urls = MODEL_FILES.map(|file| format!("/models/{name}/{file}"));
    Some(Model {
        family,
        bytes,
        files: kinds.into_iter().zip(urls).collect(),
        name,
    })
}

fn task(store: &Store, name: String) -> Task {
    let folder = store.task(&name);
    let splits = ["train", "dev", "test"].into_iter().zip(TASK_FILES);
    let files = splits
        .filter(|(_, file)| folder.join(file).is_file())
        .map(|(split, file)| (split, format!("/tasks/{name}/{file}")))
        .collect();
    let title = apet_tasks::builtin(&name).map_or(name.clone(), |task| task.title.into());
    Task { name, title, files }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

async fn model_file(
    State(store): State<Arc<Store>>,
    extract::Path((name, file)): extract::Path<(String, String)>,
    request: Request,
) -> Response {
    let known = check_name(&name).is_ok() && MODEL_FILES.contains(&file.as_str());
    send(known.then(|| store.model(&name).join(file)), request).await
}

async fn task_file(
    State(store): State<Arc<Store>>,
    extract::Path((name, file)): extract::Path<(String, String)>,
    request: Request,
) -> Response {
    let known = check_name(&name).is_ok() && TASK_FILES.contains(&file.as_str());
    send(known.then(|| store.task(&name).join(file)), request).await
}

/// The file, or the part of it that a Range header asks for.
async fn send(path: Option<PathBuf>, request: Request) -> Response {
    let Some(path) = path else { return not_found() };
    match ServeFile::new(path).oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found\n").into_response()
}

/// One line of `/api/records`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Record {
    file: String,
    bytes: u64,
    /// Milliseconds since 1970, UTC.
    modified: u64,
}

/// The run records of the store, by name.
fn list(store: &Store) -> BTreeMap<String, Record> {
    let entries = fs::read_dir(store.runs()).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            file.ends_with(".jsonl").then_some(())?;
            check_name(&file).ok()?;
            // An empty file is a run that has not begun: it is a record once it has a header.
            let about = entry.metadata().ok()?;
            if !about.is_file() || about.len() == 0 {
                return None;
            }
            let modified = about
                .modified()
                .ok()
                .and_then(milliseconds)
                .unwrap_or_default();
            let record = Record {
                file: file.clone(),
                bytes: about.len(),
                modified,
            };
            Some((file, record))
        })
        .collect()
}

fn milliseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

async fn records(State(store): State<Arc<Store>>) -> Json<Vec<Record>> {
    Json(list(&store).into_values().collect())
}

async fn record(
    State(store): State<Arc<Store>>,
    extract::Path(file): extract::Path<String>,
) -> Response {
    if check_name(&file).is_err() || !file.ends_with(".jsonl") {
        return not_found();
    }
    // Read whole: a record that is being written may grow while it is sent.
    match tokio::fs::read(store.runs().join(file)).await {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/jsonl")], bytes).into_response(),
        Err(_) => not_found(),
    }
}

async fn events(
    State(store): State<Arc<Store>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let seen = list(&store);
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changes = stream::unfold((store, clock, seen, Vec::new()), next_change);
    Sse::new(changes).keep_alive(KeepAlive::default())
}

type Watch = (
    Arc<Store>,
    tokio::time::Interval,
    BTreeMap<String, Record>,
    Vec<String>,
);

/// Waits for the next record that is new, changed or gone.
async fn next_change(watch: Watch) -> Option<(Result<Event, Infallible>, Watch)> {
    let (store, mut clock, mut seen, mut due) = watch;
    loop {
        if let Some(file) = due.pop() {
            let event = Event::default().data(serde_json::json!({ "file": file }).to_string());
            return Some((Ok(event), (store, clock, seen, due)));
        }
        clock.tick().await;
        let now = list(&store);
        let changed = now
            .iter()
            .filter(|(file, record)| seen.get(*file) != Some(record));
        due.extend(changed.map(|(file, _)| file.clone()));
        due.extend(seen.keys().filter(|file| !now.contains_key(*file)).cloned());
        seen = now;
    }
}
