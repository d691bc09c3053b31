//! Shared by the fuzz targets: an allocator with a limit, and a reader of all tensors.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use apet_checkpoint::Weights;

/// Bytes that a reader may allocate: inputs are far smaller, so a larger allocation trusts an
/// unchecked size in a file.
const MOST: usize = 256 << 20;

/// The system's allocator, which aborts if more than [`MOST`] bytes are allocated.
struct Limited;

static HELD: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    if HELD.fetch_add(bytes, Relaxed).saturating_add(bytes) > MOST {
        eprintln!("an allocation of {bytes} bytes: more than {MOST} bytes are held");
        std::process::abort();
    }
}

// SAFETY: every call is forwarded to the system's allocator; the counter does not affect it.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// Reads every tensor, and ranges at both ends and past the last byte.
pub fn read_all(weights: &dyn Weights) {
    let mut piece = [0; 48];
    for name in weights.names() {
        let Some(info) = weights.info(name) else {
            continue;
        };
        let size = info.dtype.map_or(1, |dtype| dtype.size());
        let bytes = info.shape.iter().fold(size, |n, &d| n.saturating_mul(d)) as u64;
        for offset in [0, 1, bytes.saturating_sub(48), bytes, u64::MAX] {
            let _ = weights.read(name, offset, &mut piece);
        }
    }
}
