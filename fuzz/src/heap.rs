//! An allocator that counts what is held by code under [`count`]: a node's memory, without the
//! harness's.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};

static COUNTING: AtomicBool = AtomicBool::new(false);
static HELD: AtomicI64 = AtomicI64::new(0);

/// Counts, and leaves the rest to the system.
pub struct Counting;

fn add(bytes: i64) {
    if COUNTING.load(Relaxed) {
        HELD.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: every call goes to `System` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs `f`; what it allocates counts until it is freed under `count`, too.
pub fn count<T>(f: impl FnOnce() -> T) -> T {
    COUNTING.store(true, Relaxed);
    let result = f();
    COUNTING.store(false, Relaxed);
    result
}

/// Bytes held now.
pub fn held() -> i64 {
    HELD.load(Relaxed)
}

/// Begins at zero again.
pub fn reset() {
    HELD.store(0, Relaxed);
}
