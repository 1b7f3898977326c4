//! Settings of a store, and the split of its memory (design D14).
use std::path::PathBuf;
use std::time::Duration;

use alluvium_env::{Error, Result};

use crate::compression::Compression;
use crate::remote::RemoteCompactionSettings;

/// Settings of one subtask's store. Plain data; [`ForstSettings::validate`] says what contradicts.
#[derive(Clone, Debug)]
pub struct ForstSettings {
    /// All memory of one store in bytes: memtables, blocks, filters and indexes, buffers of background jobs. More
    /// keeps more state resident and flushes less often. At least [`ForstSettings::MIN_MEMORY_BYTES`].
    pub memory_bytes: u64,
    /// What a data block takes in memory at most, unless a single entry is larger. More costs bytes a miss and the time to unpack
    /// them, less costs index memory: some 32 bytes a block. Measured on 10 million keys of 116 bytes with a tenth of them in memory and the rest in the page
    /// cache: 247 to 257 thousand reads a second with 4 KiB, 286 to 295 with 2; with all of them in memory, 822 against 793.
    pub block_size_bytes: usize,
    /// What flushes and compactions compress blocks with, but for cold ones. LZ4: what is read often shall cost little to
    /// unpack, and what is merged soon little to pack.
    pub compression: Compression,
    /// What the blocks of cold tables are compressed with: those that compactions write into the last level once it holds
    /// more than memory does, so nearly all there is of large state, read seldom and written least often.
    ///
    /// LZ4 unless bytes are dearer than time. Measured by the block of 4 KiB, LZ4 against Zstandard 1: text takes 2.6 KiB
    /// against 1.9, words with counts 1.5 against 0.8, half random values 2.3 against 2.1; to pack one takes 9 to 22 µs against
    /// 20 to 60, to unpack one 2 to 4 µs against 3 to 20. On a local store a miss costs 30 µs in all, so it would be half as
    /// much again; on a remote one that is little beside the request, but compactions would pack 70 to 170 MB/s a core, which
    /// is less than a wire takes. Zstandard is right for state that is large and changes slowly, where what is stored is
    /// paid for; level 3 finds a twentieth more for a fifth more time.
    pub cold_compression: Compression,
    /// Two blocks of one table this close are fetched in one request. More costs bytes, less costs requests.
    pub coalesce_gap_bytes: u64,
    /// The store is near: it answers from memory or an open file within microseconds. Then all ranges of a table are fetched
    /// in one call instead of one request each, and the task thread answers its part of its reads itself.
    pub vectored_reads: bool,
    /// The folder of the disk tier; `None` goes without.
    pub cache_dir: Option<PathBuf>,
    /// What the disk tier may take, for all stores of the process together.
    pub cache_size_bytes: u64,
    /// What the disk tier leaves free on its disk: it shrinks before less is free. More is kinder to the disk's other
    /// users.
    pub cache_min_free_bytes: u64,
    /// Values from this size on are kept apart from their keys, in value files: compactions carry a pointer from level to
    /// level instead of the value, and a read of one that is not in memory is one request more. As large as a block a value
    /// shares its request with no neighbour anyway; smaller ones are better off among them. Values of keys that take
    /// merges stay with their keys. `usize::MAX` keeps all of them there.
    pub value_threshold_bytes: usize,
    /// The part of a value file from which on, being garbage, it has its living values written anew. With less, value
    /// files take less room. With more, values are written less often: to free one costs `(100 - percent) / percent` that
    /// are written. 100 writes none anew.
    pub value_garbage_percent: u64,
    /// Whether a store that is restored fetches in the background what was in memory before, and checkpoints keep a hint of what
    /// that is. Without, a restored store reads each block when it is asked for, as with it until that block has come; and what
    /// checkpoints upload is less by the hints, which take one part in thirty-two at most.
    ///
    /// Measured on a store 15 ms away, 400 MB of state that memory holds, 8,000 updates a second with 16 records in flight a
    /// subtask (`alluvium bench checkpoint --keys 400000 --value-bytes 1000 --change 2 --memory 1536MiB --in-flight 16 --latency
    /// 15ms --parallelism 2 --restore-at 2,3,2`): the old rate is back after 1.4, 1.0 and 0.9 s with it, after 15.6, 0.8 and 28.5 s
    /// without, by 1055, 828 and 1531 requests against 27785, 406 and 53354. A first life of eight seconds has a hint as well
    /// (`--seconds 8`): after 1.3, 0.7 and 1.8 s, by 2324, 1772 and 4045 requests. With thousands of records in flight the latency is
    /// hidden anyway.
    pub warm_up: bool,
    /// Tables from which on checkpoints describe most of them in pages, immutable objects of up to a quarter as many tables
    /// (RFC 0006), so that a checkpoint does not grow with state that stays as it is. With fewer, small stores make requests
    /// for pages, and restarts have one more round trip; with more, checkpoints are larger: 175 bytes a table, of up to a
    /// sixteenth as many tables a subtask. Measured for 100 TB (`docs/scale.md`).
    pub paged_tables: usize,
    /// How patiently the object store is asked.
    pub fetch: FetchSettings,
    /// Whether compactions are offered to compactors; `None` does all of them at home.
    pub remote_compaction: Option<RemoteCompactionSettings>,
}

/// How a store asks its object store: how much at once, how long, how often.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Requests of one store in flight. More hides more latency of a remote store; each holds the memory of what it
    /// reads, at most a few blocks and the gaps between them.
    pub max_requests: usize,
    /// How long a request is tried in all, pauses included; a body has a second for each MiB on top. Less tells the
    /// caller sooner that the store is away, more outlasts longer outages. The client of a remote store has retries
    /// of its own within each attempt.
    pub deadline: Duration,
    /// How long one attempt may take before it is given up and made again; a body has a second for each MiB on top.
    pub attempt_timeout: Duration,
    /// A read of a few blocks that takes longer than this many times the 95th percentile of such reads is asked a
    /// second time, and the first answer wins; at most one read in twenty is. `None` never asks twice: right for a
    /// folder or memory, whose slowness is this machine's own. Less than 1 spends the budget on ordinary reads.
    ///
    /// Measured on a store 15 ms away of which one request in a hundred takes 150 ms, 64 reads under way at once
    /// (`benches/targets/run tail`): p50, p99 and p99.9 are 15, 150 and 150 ms without; 15, 30 and 32 ms with 1; 15, 38 and 40
    /// with 1.5; 15, 45 and 64 with 3. Each of them made one request in a hundred more.
    pub hedge_factor: Option<f64>,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            max_requests: 512,
            deadline: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            hedge_factor: None,
        }
    }
}

impl FetchSettings {
    pub(crate) fn validate(&self) -> Result<()> {
        let problem = if self.max_requests == 0 {
            "fetch.max_requests is 0: a store needs at least one request"
        } else if self.deadline.is_zero() || self.attempt_timeout.is_zero() {
            "fetch.deadline and fetch.attempt_timeout must be more than nothing: no request could be answered"
        } else if self.attempt_timeout > self.deadline {
            "fetch.attempt_timeout is longer than fetch.deadline: no attempt could be made again"
        } else if self.hedge_factor.is_some_and(|factor| !(0.1..=1000.0).contains(&factor)) {
            "fetch.hedge_factor must lie between 0.1 and 1000, or be none"
        } else {
            return Ok(());
        };
        Err(Error::invalid(problem))
    }
}

impl Default for ForstSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            block_size_bytes: 4 << 10,
            compression: Compression::Lz4,
            cold_compression: Compression::Lz4,
            coalesce_gap_bytes: 16 << 10,
            vectored_reads: false,
            value_threshold_bytes: 4 << 10,
            value_garbage_percent: 30,
            paged_tables: 1024,
            cache_dir: None,
            cache_size_bytes: 1 << 30,
            cache_min_free_bytes: 1 << 30,
            warm_up: true,
            fetch: FetchSettings::default(),
            remote_compaction: None,
        }
    }
}

/// A larger memtable saves few merges more, but its flush is a long one that ends late.
const MAX_MEMTABLE_BYTES: usize = 256 << 20;
/// What a pointer takes at most, nearly.
const MIN_VALUE_THRESHOLD_BYTES: usize = 32;
/// Two sources with reads of 1 MiB and two ahead for each of a dozen runs, and the tables being built.
pub(crate) const MAX_BACKGROUND_BYTES: usize = 128 << 20;
/// What a compaction reads ahead at most: two reads of 2 MiB for each of sixteen runs.
pub(crate) const MAX_READ_AHEAD_BYTES: usize = MAX_BACKGROUND_BYTES / 2;

impl ForstSettings {
    /// Below this the smallest memtables and buffers do not fit.
    pub const MIN_MEMORY_BYTES: u64 = 1 << 20;

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// `Invalid`, naming the settings that contradict.
    pub fn validate(&self) -> Result<()> {
        if self.memory_bytes < Self::MIN_MEMORY_BYTES {
            let (memory, least) = (self.memory_bytes, Self::MIN_MEMORY_BYTES);
            return Err(Error::invalid(format!(
                "memory_bytes is {memory} but a store needs at least {least}: give more memory or fewer subtasks"
            )));
        }
        if self.block_size_bytes < 512 || self.block_size_bytes as u64 > self.memory_bytes / 64 {
            let (block, memory) = (self.block_size_bytes, self.memory_bytes);
            return Err(Error::invalid(format!(
                "block_size_bytes is {block}: it must be at least 512 and at most a 64th of memory_bytes ({memory})"
            )));
        }
        if self.value_threshold_bytes < MIN_VALUE_THRESHOLD_BYTES {
            let threshold = self.value_threshold_bytes;
            return Err(Error::invalid(format!(
                "value_threshold_bytes is {threshold}: a pointer takes up to {MIN_VALUE_THRESHOLD_BYTES} bytes, so smaller \
                 values must stay with their keys"
            )));
        }
        if !(5..=100).contains(&self.value_garbage_percent) {
            let percent = self.value_garbage_percent;
            return Err(Error::invalid(format!(
                "value_garbage_percent is {percent}: it must lie between 5, at which each value is written twenty times, and 100"
            )));
        }
        for (name, compression) in
            [("compression", self.compression), ("cold_compression", self.cold_compression)]
        {
            if !compression.is_valid() {
                let (least, most) = (Compression::MIN_ZSTD_LEVEL, Compression::MAX_ZSTD_LEVEL);
                return Err(Error::invalid(format!(
                    "{name} is {compression:?}: the level must lie between {least} and {most}"
                )));
            }
        }
        self.remote_compaction.as_ref().map_or(Ok(()), RemoteCompactionSettings::validate)?;
        self.fetch.validate()
    }

    pub(crate) fn budget(&self) -> Budget {
        let memory = self.memory_bytes as usize;
        let memtable_bytes = (memory / 4).min(MAX_MEMTABLE_BYTES);
        let table_size_bytes = (memory / 16).min(32 << 20);
        let background_bytes = (memory / 8).min(MAX_BACKGROUND_BYTES);
        Budget {
            memtable_bytes,
            background_bytes,
            values_under_way_bytes: background_bytes / 4,
            table_size_bytes,
            level_base_bytes: memtable_bytes as u64 * 256,
            slice_bytes: table_size_bytes as u64 * 8,
            resident_bytes: memory - 2 * memtable_bytes - background_bytes,
        }
    }
}

/// How a store's memory is split. A memtable fills while one is being flushed: two large ones write fewer tables than
/// three small ones.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "units last")]
pub(crate) struct Budget {
    /// One memtable: a quarter, so that two are half, up to [`MAX_MEMTABLE_BYTES`].
    pub(crate) memtable_bytes: usize,
    /// Buffers of flush and compaction: an eighth, up to [`MAX_BACKGROUND_BYTES`].
    pub(crate) background_bytes: usize,
    /// Of these, values that are under way to readers.
    pub(crate) values_under_way_bytes: usize,
    /// One output table.
    pub(crate) table_size_bytes: usize,
    /// The most that the first level below level 0 holds.
    pub(crate) level_base_bytes: u64,
    /// What the level below level 0 has in one of the slices that level 0 is merged by.
    pub(crate) slice_bytes: u64,
    /// Blocks, filters and indexes: the rest, at least three eighths. What filters and indexes take is taken from the blocks, which
    /// are lent what memtables do not take.
    pub(crate) resident_bytes: usize,
}

impl Budget {
    /// What a compaction may read ahead without borrowing.
    pub(crate) fn read_ahead_bytes(&self) -> usize {
        self.background_bytes / 2
    }

    /// What memtables may take together.
    pub(crate) fn memtables_bytes(&self) -> usize {
        2 * self.memtable_bytes
    }
}
