//! The process's allocator: jemalloc, in huge pages where the kernel gives them, with few arenas that give back soon.
//!
//! Measured with `wordcount` (20 MiB stores fed by 17 threads, blocks freed by other threads than made them): peak RSS
//! 60 MB where mimalloc kept 186 MB and glibc more. Huge pages: an add is three cache misses in tables of tens of
//! megabytes; without their TLB misses a record takes 17 % less CPU. Arenas: memory changes hands between a store's memtables and
//! its blocks, which other threads have decoded, so what one arena keeps for ten seconds another one takes anew. With four, and one
//! second, `alluvium bench rmw --keys 6M` has a peak RSS of 149 MB of 128 MiB and 554 of 512 MiB, instead of 205 and 721, at the
//! same speed.
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Read by jemalloc when it starts, before `main`; `_RJEM_MALLOC_CONF` in the environment overrides it.
// SAFETY: the symbol's type is `const char *`, which is how a slice reference begins; the string ends with a zero.
#[expect(unsafe_code, reason = "jemalloc finds its options by this symbol's name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: &[u8; 41] = b"thp:always,narenas:4,dirty_decay_ms:1000\0";
