//! Loading memory for its own sake: what is touched is in the processor's caches when it is needed.
//!
//! Instructions that prefetch would need `unsafe` code (design D18); a load whose value nobody waits for does as much.

/// The most keys that are prefetched together: more than the loads a core has under way, few enough that none leaves the cache again.
pub(crate) const GROUP: usize = 32;
/// What the processor's caches take at a time.
const LINE_BYTES: usize = 64;

/// Loads what begins here: mostly that is all of an entry, and who reads more of one goes in order, which the processor sees.
///
/// No loop and no length: a branch that depends on what is loaded waits for it, and then for all that it guessed wrongly.
#[inline]
pub(crate) fn touch(bytes: &[u8]) -> u8 {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    byte(0) ^ byte(LINE_BYTES) ^ byte(2 * LINE_BYTES - 1)
}
