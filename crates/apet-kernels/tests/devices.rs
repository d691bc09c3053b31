//! The numeric suite on `cpu` and on wgpu (a software adapter such as Mesa's
//! lavapipe where there is no GPU), in WGSL and in CubeCL.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panic")]

use apet_kernels::{KernelLanguage, check, set_kernel_language, set_software_adapter};
use burn::tensor::Device;
use futures_lite::future::block_on;

fn suite(device: &Device) {
    let checks = block_on(check(device)).unwrap();
    assert!(checks.len() > 20);
    let failed: Vec<_> = checks.iter().filter(|c| !c.passes()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn cpu() {
    suite(&Device::flex());
}

#[test]
fn wgpu_in_wgsl_and_cubecl() {
    let device = Device::wgpu_options()
        .init()
        .expect("no Vulkan adapter: install the Debian package mesa-vulkan-drivers");
    // The products for software adapters, then burn's, then CubeCL without WGSL.
    set_software_adapter(true);
    suite(&device);
    set_software_adapter(false);
    suite(&device);
    set_kernel_language(KernelLanguage::CubeCl);
    suite(&device);
    set_kernel_language(KernelLanguage::Auto);
}
