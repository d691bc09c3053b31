//! `apet check`: every operation and gradient on a device, compared with double precision.

use anyhow::{Result, bail};

use crate::runner::device;

/// Which device to check.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Check the operations on cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N
    #[arg(default_value = "cpu")]
    device: String,
}

/// Runs the numeric suite of apet-kernels on a device.
///
/// # Errors
/// When an operation or a gradient is off.
pub(crate) fn check(args: &CheckArgs) -> Result<()> {
    let name = &args.device;
    let opened = device::open(name)?;
    let checks = futures_lite::future::block_on(apet_kernels::check(&opened.device))
        .map_err(|e| anyhow::anyhow!("device {name:?}: {e}"))?;
    let mut failed = 0;
    for check in &checks {
        let mark = if check.passes() { "ok" } else { "OFF" };
        failed += usize::from(!check.passes());
        println!("{mark:<4} {:<32} {:.1e}", check.name, check.error);
    }
    if failed > 0 {
        bail!(
            "device {name:?}: {failed} of {} operations are off",
            checks.len()
        );
    }
    println!(
        "{}: {} operations and gradients agree",
        opened.info.adapter,
        checks.len()
    );
    Ok(())
}
