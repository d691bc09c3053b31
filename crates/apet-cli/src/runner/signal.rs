//! Ctrl-C and the end that a scheduler announces.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::Result;
use sysinfo::{Pid, ProcessesToUpdate, Signal, System};

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

/// Asks a process to end.
pub(crate) fn terminate(process: u32) {
    let pid = Pid::from_u32(process);
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
    if let Some(process) = system.process(pid) {
        process.kill_with(Signal::Term);
    }
}
