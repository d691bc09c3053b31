//! `apet serve`: the page, with what is in the store.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use apet_store::{Store, builtin};

use crate::runner::device;
use crate::serve::{self, Page, Runs};

/// Options of `apet serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Listen on this port; 0 chooses a free one
    #[arg(long, default_value_t = 7878)]
    port: u16,
    /// Serve the page in DIR instead of the one inside the binary
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Listen on this address; an address that other machines reach needs --token
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Require this secret from every visitor (16 characters or more)
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
/// When the address cannot be listened on, or is open to others without a token.
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
    builtin::install_builtin(&store, |_| true)?;
    let runs = match args.allow_runs {
        true => Some(Runs::start(&store, device::names())?),
        false => None,
    };
    let address = SocketAddr::new(args.address, args.port);
    serve::serve(store, page, address, args.token, runs)
}
