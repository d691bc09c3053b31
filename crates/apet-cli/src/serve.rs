//! `apet serve`: the page, what of the store it reads, and with `--allow-runs` the runs it starts. Everything else is read
//! only and of one origin; see [`guard`] for who may ask.

mod api;
mod guard;
mod page;
mod runs;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use apet_store::{Store, builtin};
use axum::{Router, middleware};

use self::guard::Guard;
use self::page::Page;
use self::runs::Runs;
use crate::device;

/// What to serve, and to whom.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 7878)]
    port: u16,
    /// Serve the page in this folder instead of the one inside the binary
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Address to listen on; others than this machine's own need --token
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Let in only who knows this secret (16 characters or more)
    #[arg(long, env = "APET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Let the page start runs on this machine's devices
    #[arg(long)]
    allow_runs: bool,
}

/// Shortest token that is taken.
const TOKEN_LENGTH: usize = 16;

/// Serves until the process is ended.
///
/// # Errors
/// When the address can not be listened on, or is open to others without a token.
pub(crate) fn serve(store: Store, args: ServeArgs) -> Result<()> {
    ensure!(
        args.token.is_some() || args.address.is_loopback(),
        "--address {}: other machines could read the store; give --token SECRET too",
        args.address
    );
    if let Some(token) = &args.token {
        let plain = token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        ensure!(
            token.len() >= TOKEN_LENGTH && plain,
            "--token: expected {TOKEN_LENGTH} or more letters, digits, \"-\" and \"_\""
        );
    }
    let page = match args.page {
        Some(folder) => Page::folder(folder)?,
        None => Page::embedded(),
    };
    builtin::provide(&store, |_| true)?;
    let runs = match args.allow_runs {
        true => Some(Runs::start(&store, device::names())?),
        false => None,
    };
    let asked = SocketAddr::new(args.address, args.port);
    // One thread: what is served is small, and file reads go to threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(asked)
            .await
            .with_context(|| format!("{asked} can not be listened on; give another --port"))?;
        let address = listener.local_addr()?;
        announce(address, args.token.as_deref())?;
        let guard = Guard::new(address, args.token);
        let app = app(store, page, guard, runs);
        Ok(axum::serve(listener, app).await?)
    })
}

fn announce(address: SocketAddr, token: Option<&str>) -> Result<()> {
    let token = token
        .map(|token| format!("?token={token}"))
        .unwrap_or_default();
    let mut out = std::io::stdout();
    writeln!(out, "APET Lab: http://{address}/{token}")?;
    Ok(out.flush()?)
}

/// Everything that is served.
fn app(store: Store, page: Page, mut guard: Guard, runs: Option<Arc<Runs>>) -> Router {
    guard.allow_runs(runs.is_some());
    let devices = runs.as_ref().map(|runs| runs.devices());
    Router::new()
        .merge(api::routes(store, devices.unwrap_or_default()))
        .merge(runs.map(Runs::routes).unwrap_or_default())
        .fallback_service(page.service())
        .layer(middleware::from_fn_with_state(guard.shared(), guard::check))
}

#[cfg(test)]
mod tests;
