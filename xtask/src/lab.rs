//! `cargo xtask lab`: from a clean clone to the page in a browser.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::{apet, everything};
use crate::step::{command, run, step};

/// The model and task that a new user finds on the page.
pub(crate) const MODEL: &str = "ladder-micro";
pub(crate) const TASK: &str = "sentences";
/// The task's title, as in apet-tasks.
pub(crate) const TITLE: &str = "Sentiment of 3,000 review sentences (IMDB, Yelp, Amazon)";

/// Builds everything and serves the page.
///
/// # Errors
/// Names what is missing, or the command that failed.
pub(crate) fn lab(port: Option<&str>) -> Result<()> {
    everything()?;
    let port = port.map(|port| ["--port", port]);
    let mut serve = command(apet()?, ["serve"])?;
    serve.args(port.into_iter().flatten());
    run(serve)
}

/// Like [`lab`], but the server answers a few requests and exits.
///
/// # Errors
/// Names what is missing, the command that failed, or the wrong response.
pub(crate) fn check() -> Result<()> {
    everything()?;
    step("page and store are served", || ask(None))
}

/// Fetches models into a store.
///
/// # Errors
/// The command that failed.
pub(crate) fn fetch(models: &[&str], home: &OsStr) -> Result<()> {
    let mut apet = command(apet()?, ["fetch"])?;
    apet.args(models).env("APET_HOME", home);
    run(apet)
}

/// A server process that is killed on drop.
struct ServerProcess(Child);

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server on a free port and requests the page, the index and the model.
///
/// # Errors
/// Names the unexpected response.
pub(crate) fn ask(home: Option<&OsStr>) -> Result<()> {
    let mut serve = command(apet()?, ["serve", "--port", "0"])?;
    if let Some(home) = home {
        serve.env("APET_HOME", home);
    }
    let mut served = ServerProcess(serve.stdout(Stdio::piped()).spawn().context("apet serve")?);
    let output = served.0.stdout.take().context("apet serve has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let address = line
        .trim()
        .strip_prefix("APET Lab: http://")
        .map(|rest| rest.trim_matches('/'));
    let address = address.with_context(|| format!("apet serve printed {line:?}"))?;

    let page = get(address, "/")?;
    ensure!(page.contains("<script"), "the page has no script: {page}");
    let index = get(address, "/api/index.json")?;
    let default = format!(r#""default":{{"model":"{MODEL}","task":"{TASK}"}}"#);
    ensure!(
        index.contains(&default),
        "expected {default} in the index: {index}"
    );
    ensure!(
        index.contains(TITLE),
        "expected {TITLE:?} in the index, as in the page's folder: {index}"
    );
    let config = get(address, &format!("/models/{MODEL}/config.json"))?;
    ensure!(
        config.contains("\"model_type\""),
        "expected a config: {config}"
    );
    println!("http://{address} serves the page, {MODEL} and {TASK}");
    Ok(())
}

fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| path.to_owned())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let first = answer.lines().next().unwrap_or_default();
    ensure!(first.contains(" 200 "), "{path}: {first}");
    Ok(answer)
}
