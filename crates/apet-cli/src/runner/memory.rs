//! How much memory this process holds, and the most that it held at once.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mimalloc::MiMalloc;

/// mimalloc, counted. It keeps the memory of a step's tensors for the next step, where the system's
/// allocator would give it back and have it cleared anew (docs/performance.md).
#[derive(Debug)]
pub(crate) struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Begins to look for the most bytes held at once; gives those held now.
pub(crate) fn watch() -> u64 {
    let held = HELD.load(Relaxed);
    PEAK.store(held, Relaxed);
    held as u64
}

/// The most bytes held at once since [`watch`], or since the process began.
pub(crate) fn peak() -> u64 {
    PEAK.load(Relaxed) as u64
}

fn grow(bytes: usize) {
    let held = HELD.fetch_add(bytes, Relaxed) + bytes;
    // Most allocations are no new peak: those only read.
    if held > PEAK.load(Relaxed) {
        PEAK.fetch_max(held, Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe by nature")]
// SAFETY: every call goes to mimalloc; only numbers are kept in addition.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { MiMalloc.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // It may be copied: both are there for a moment.
        grow(size);
        let new = unsafe { MiMalloc.realloc(at, layout, size) };
        HELD.fetch_sub(layout.size(), Relaxed);
        new
    }
}
