//! Ctrl-C and the end that a scheduler announces.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::Result;

/// A flag that the first SIGINT or SIGTERM sets; the second one ends the process at once.
///
/// # Errors
/// When the system takes no handler.
pub(crate) fn stop() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}
