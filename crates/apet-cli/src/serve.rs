//! `apet serve`: the page, what of the store it reads, and with `--allow-runs` the runs it starts. Everything else is read
//! only and of one origin; see [`guard`] for who may ask.

mod api;
mod guard;
mod page;
mod runs;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use apet_store::Store;
use axum::{Router, middleware};

use self::guard::Guard;
pub(crate) use self::page::Page;
pub(crate) use self::runs::Runs;

/// Serves until the process is ended.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) fn serve(
    store: Store,
    page: Page,
    address: SocketAddr,
    token: Option<String>,
    runs: Option<Arc<Runs>>,
) -> Result<()> {
    // One thread: what is served is small, and file reads go to separate threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("{address} cannot be listened on; give another --port"))?;
        let address = listener.local_addr()?;
        announce(address, token.as_deref())?;
        let guard = Guard::new(address, token);
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
