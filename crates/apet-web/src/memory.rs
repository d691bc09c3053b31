//! The module's memory: large pieces begin at a cache line. By itself the allocator of wasm gives
//! multiples of 8, and a load of four numbers that lies across two lines takes twice as long.

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes of a cache line, and bytes from which on a piece is laid at one.
const LINE: usize = 64;
const LARGE: usize = 1 << 10;

struct Lines;

#[global_allocator]
static ALLOCATOR: Lines = Lines;

/// The same at a cache line, if it is large. A size decides alone, so that what is freed is
/// described as it was when it was made.
fn at_line(layout: Layout) -> Layout {
    match layout.size() >= LARGE {
        true => layout.align_to(LINE).unwrap_or(layout),
        false => layout,
    }
}

#[expect(unsafe_code, reason = "an allocator requires unsafe code")]
// SAFETY: every call goes on to the system's allocator, with a layout that follows from the caller's alone.
unsafe impl GlobalAlloc for Lines {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(at_line(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(at_line(layout)) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, at_line(layout)) }
    }
}
