//! `apet devices`: the devices of this machine by name.

use crate::runner::device;

/// Prints every device by name.
pub(crate) fn devices() {
    for (name, about) in device::all() {
        println!("{name:<10} {about}");
    }
    println!("{:<10} the first graphics adapter that fits", "wgpu");
}
