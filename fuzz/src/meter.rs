//! An allocator that knows what is taken, and stops a decoder that takes what a length field claims.
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What the runtime and a target's fixed parts take: a decompressor, a store's memtable and buffers.
const FIXED_BYTES: usize = 24 << 20;
/// A section unpacks to 255 times its size at most, and is copied once or twice.
const BYTES_A_BYTE: usize = 1024;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

// SAFETY: every call is handed on to the system's allocator as it came; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = TAKEN.fetch_add(layout.size(), Relaxed) + layout.size();
        if taken > LIMIT.load(Relaxed) {
            // Not again for what the panic takes.
            let limit = LIMIT.swap(usize::MAX, Relaxed);
            panic!("{taken} bytes are taken, more than {limit}: the last were {}", layout.size());
        }
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(bytes, layout) }
    }
}

/// What a target may take for so many bytes.
pub(crate) fn limit_of(bytes: usize) -> usize {
    FIXED_BYTES + bytes * BYTES_A_BYTE
}

/// Runs a target that may take so much on top of what is taken.
pub(crate) fn within(bytes: usize, target: impl FnOnce()) {
    LIMIT.store(TAKEN.load(Relaxed).saturating_add(bytes), Relaxed);
    target();
    LIMIT.store(usize::MAX, Relaxed);
}
