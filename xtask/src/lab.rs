//! `cargo xtask lab`: from a clean clone to the page in a browser.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::{apet, everything};
use crate::step::{command, run, step};

/// What a new user finds in the page.
pub(crate) const MODEL: &str = "ladder-micro";
pub(crate) const TASK: &str = "sentences";
/// The task's title, as apet-tasks has it.
pub(crate) const TITLE: &str = "Sentiment of 3,000 review sentences (IMDB, Yelp, Amazon)";

/// Builds everything and serves the page.
///
/// # Errors
/// What is missing, or the command that failed.
pub(crate) fn lab(port: Option<&str>) -> Result<()> {
    everything()?;
    let port = port.map(|port| ["--port", port]);
    let mut serve = command(apet()?, ["serve"])?;
    serve.args(port.into_iter().flatten());
    run(serve)
}

/// The same, but the server answers a few questions and ends.
///
/// # Errors
/// What is missing, the command that failed, or the answer that is wrong.
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

/// A server that ends with this value.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks a server on a free port for the page, the index and the model.
///
/// # Errors
/// The answer that is not as expected.
pub(crate) fn ask(home: Option<&OsStr>) -> Result<()> {
    let mut serve = command(apet()?, ["serve", "--port", "0"])?;
    if let Some(home) = home {
        serve.env("APET_HOME", home);
    }
    let mut served = Served(serve.stdout(Stdio::piped()).spawn().context("apet serve")?);
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
        "expected {TITLE:?} in the index, as the page's folder says it: {index}"
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
