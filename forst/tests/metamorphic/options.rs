//! Everything about a store that must not change an answer.
use alluvium_forst::{Compression, FetchSettings, ForstSettings};
use proptest::prelude::*;

/// One way to run a store.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) settings: ForstSettings,
    pub(crate) disk_tier: bool,
    /// How much longer than they need be keys are. An index of long keys outgrows the least memory, and tails become slim.
    pub(crate) padding: usize,
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::None),
        Just(Compression::Lz4),
        (1..=3).prop_map(|level| Compression::Zstd { level })
    ]
}

pub(crate) fn options() -> impl Strategy<Value = Options> {
    let sizes = (
        prop_oneof![Just(ForstSettings::MIN_MEMORY_BYTES), Just(4 << 20), Just(64 << 20)],
        prop_oneof![Just(512_usize), Just(1024), Just(4096), Just(16_000)],
        prop_oneof![Just(32_usize), Just(200), Just(4096), Just(usize::MAX)],
        prop_oneof![Just(5_u64), Just(30), Just(100)],
        prop_oneof![Just(1_usize), Just(4), Just(20), Just(1024)],
    );
    let ways = (
        prop_oneof![Just(0_u64), Just(1 << 10), Just(64 << 10)],
        any::<bool>(),
        prop_oneof![Just(None), Just(Some(0.1)), Just(Some(3.0))],
        prop_oneof![Just(1_usize), Just(2), Just(512)],
        any::<bool>(),
    );
    let padding = prop_oneof![2 => Just(0_usize), 1 => Just(2000)];
    (sizes, ways, (compression(), compression()), padding).prop_map(
        |(sizes, ways, (compression, cold_compression), padding)| {
            let (memory_bytes, block_size_bytes, value_threshold_bytes, value_garbage_percent, paged_tables) =
                sizes;
            let (coalesce_gap_bytes, vectored_reads, hedge_factor, max_requests, disk_tier) = ways;
            let settings = ForstSettings {
                memory_bytes,
                block_size_bytes,
                value_threshold_bytes,
                value_garbage_percent,
                paged_tables,
                coalesce_gap_bytes,
                vectored_reads,
                compression,
                cold_compression,
                fetch: FetchSettings { hedge_factor, max_requests, ..FetchSettings::default() },
                ..ForstSettings::default()
            };
            Options { settings, disk_tier, padding }
        },
    )
}
