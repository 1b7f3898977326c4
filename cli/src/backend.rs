//! Opens `ForSt` for the commands: what a store may take of this machine, and how it reads from near and from far.
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result, SystemClock};
use alluvium_forst::{
    Compression, FetchSettings, ForstBackendFactory, ForstMetrics, ForstSettings, RemoteCompactionSettings,
};
use clap::{Args, ValueEnum};
use object_store::ObjectStore;
use prometheus_client::registry::Registry;

use crate::state::{is_in_memory, local_folder};
use crate::units::ByteSize;

/// Where compactions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompactionPlace {
    /// In this process
    Home,
    /// Offered to processes of `alluvium compactor` on the same state first; here, if there is none
    Remote,
}

/// Options of every command that has stores of its own.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreArgs {
    /// A folder on a local disk to cache blocks in
    #[arg(long, value_name = "DIR", help_heading = "State")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// How much of that disk to use [default: 1GiB]
    #[arg(long, value_name = "SIZE", help_heading = "State", requires = "cache_dir")]
    cache_size: Option<ByteSize>,

    /// What blocks are compressed with, but for cold ones: none, lz4, zstd, or zstd:LEVEL with a level from 1 to 3
    #[arg(long, value_name = "NAME", default_value = "lz4", value_parser = compression, help_heading = "State")]
    pub(crate) compression: Compression,

    /// The same for the last level, once it holds more than memory does: zstd for large state that changes slowly
    #[arg(
        long,
        value_name = "NAME",
        default_value = "lz4",
        value_parser = compression,
        visible_alias = "bottommost-compression",
        help_heading = "State"
    )]
    pub(crate) cold_compression: Compression,

    /// A block's size before compression. 2KiB makes a miss on local files an eighth to a sixth cheaper, and indexes twice as
    /// large [default: 4KiB]
    #[arg(long, value_name = "SIZE", help_heading = "State")]
    block_size: Option<ByteSize>,

    /// Requests of a subtask to the store that are under way at once; more for a store that is farther away than 50 ms
    /// [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536), help_heading = "State")]
    max_requests: Option<u32>,

    /// What lies between two blocks or values may be fetched along with them in one request, up to this: less where bytes are
    /// dearer than requests [default: 16KiB; 0 on a local folder]
    #[arg(long, value_name = "SIZE", help_heading = "State")]
    coalesce_gap: Option<ByteSize>,

    /// Let a restored job fetch what was in memory before only when it is asked for, and keep no hints of that in checkpoints
    #[arg(long, help_heading = "State")]
    no_restore_warm_up: bool,

    /// From so many tables of a subtask on, checkpoints describe them in pages of their own, so that an entry does not grow with
    /// what stays; give less where many subtasks have few tables each [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20), help_heading = "State")]
    paged_tables: Option<u32>,

    /// Where compactions run
    #[arg(long, value_name = "WHERE", default_value = "home", help_heading = "State")]
    pub(crate) compaction: CompactionPlace,

    /// The smallest compaction that --compaction remote offers; smaller ones run here [default: 8MiB]
    #[arg(long, value_name = "SIZE", help_heading = "State")]
    remote_compaction_min_size: Option<ByteSize>,
}

/// As it is written on the command line.
fn compression(text: &str) -> Result<Compression, String> {
    const ZSTD_LEVELS: RangeInclusive<i32> = Compression::MIN_ZSTD_LEVEL..=Compression::MAX_ZSTD_LEVEL;
    let level = match text.split_once(':') {
        Some(("zstd", level)) => level.parse().ok().filter(|level| ZSTD_LEVELS.contains(level)),
        _ => (text == "zstd").then_some(*ZSTD_LEVELS.start()),
    };
    match (text, level) {
        ("none", _) => Ok(Compression::None),
        ("lz4", _) => Ok(Compression::Lz4),
        (_, Some(level)) => Ok(Compression::Zstd { level }),
        _ => Err(format!(
            "{text:?} is no compression; write none, lz4, zstd, or zstd:LEVEL with a level from {} to {}",
            ZSTD_LEVELS.start(),
            ZSTD_LEVELS.end()
        )),
    }
}

impl StoreArgs {
    /// The disk cache, if there is one.
    pub(crate) fn cache_size(&self) -> ByteSize {
        self.cache_size.unwrap_or(ByteSize::mib(1024))
    }

    /// Finds options that contradict each other, or where the state is: by default in a folder below this one.
    ///
    /// # Errors
    /// `Invalid`, naming both.
    pub(crate) fn check(&self, state: Option<&str>, default_state: &str) -> Result<()> {
        if self.compaction == CompactionPlace::Remote && state.is_some_and(is_in_memory) {
            return Err(Error::invalid(
                "--compaction remote contradicts --state memory:///, which no other process can see; use a file:// or \
                 s3:// state",
            ));
        }
        if let (CompactionPlace::Home, Some(size)) = (self.compaction, self.remote_compaction_min_size) {
            return Err(Error::invalid(format!(
                "--remote-compaction-min-size {size} contradicts --compaction home, which offers none; add --compaction remote"
            )));
        }
        match (&self.cache_dir, local_folder(state, default_state)) {
            (Some(cache), Some(state)) => apart(cache, &state),
            _ => Ok(()),
        }
    }

    /// Those that were given and say how a store writes, as they were given.
    pub(crate) fn given(&self) -> impl Iterator<Item = String> + use<> {
        let compressions =
            [("--compression", self.compression), ("--cold-compression", self.cold_compression)];
        let changed = compressions.into_iter().filter(|(_, compression)| *compression != Compression::Lz4);
        let compressions = changed.map(|(option, compression)| format!("{option} {}", name_of(compression)));
        let block_size = self.block_size.map(|size| format!("--block-size {size}"));
        let requests = self.max_requests.map(|requests| format!("--max-requests {requests}"));
        let gap = self.coalesce_gap.map(|gap| format!("--coalesce-gap {gap}"));
        let remote = (self.compaction == CompactionPlace::Remote).then(|| "--compaction remote".to_owned());
        let cache = self.cache_dir.as_ref().map(|folder| format!("--cache-dir {}", folder.display()));
        let cold = self.no_restore_warm_up.then(|| "--no-restore-warm-up".to_owned());
        let paged = self.paged_tables.map(|tables| format!("--paged-tables {tables}"));
        let reads = block_size.into_iter().chain(requests).chain(gap).chain(cold);
        compressions.chain(reads).chain(paged).chain(remote).chain(cache)
    }

    /// What one store of a process does with its share of memory; `near` if its requests stay on this machine.
    fn settings(&self, memory: ByteSize, near: bool) -> ForstSettings {
        let defaults = ForstSettings::default();
        let remote = RemoteCompactionSettings::default();
        let max_requests =
            self.max_requests.map_or(defaults.fetch.max_requests, |requests| requests as usize);
        let min_input_bytes = self.remote_compaction_min_size.map_or(remote.min_input_bytes, |size| size.0);
        ForstSettings {
            memory_bytes: memory.0,
            block_size_bytes: self.block_size.map_or(defaults.block_size_bytes, |size| size.0 as usize),
            compression: self.compression,
            cold_compression: self.cold_compression,
            cache_dir: self.cache_dir.clone(),
            cache_size_bytes: self.cache_size().0,
            fetch: FetchSettings { max_requests, ..defaults.fetch.clone() },
            warm_up: !self.no_restore_warm_up,
            paged_tables: self.paged_tables.map_or(defaults.paged_tables, |tables| tables as usize),
            vectored_reads: near,
            // Beside a round trip a few blocks too many cost nothing; beside a `pread` they cost more than the next one.
            coalesce_gap_bytes: match self.coalesce_gap {
                Some(gap) => gap.0,
                None if near => 0,
                None => defaults.coalesce_gap_bytes,
            },
            remote_compaction: match self.compaction {
                CompactionPlace::Home => None,
                CompactionPlace::Remote => Some(RemoteCompactionSettings { min_input_bytes, ..remote }),
            },
            ..defaults
        }
    }
}

/// As an option says it.
pub(crate) fn name_of(compression: Compression) -> String {
    match compression {
        Compression::None => "none".to_owned(),
        Compression::Lz4 => "lz4".to_owned(),
        Compression::Zstd { level } => format!("zstd:{level}"),
    }
}

/// Refuses a cache folder inside the state folder, and the other way round.
///
/// # Errors
/// `Invalid`, naming both options.
fn apart(cache: &Path, state: &Path) -> Result<()> {
    let inside = |folder: &Path, root: &Path| Some(absolute(folder).ok()?.starts_with(absolute(root).ok()?));
    if inside(cache, state) == Some(true) || inside(state, cache) == Some(true) {
        return Err(Error::invalid(format!(
            "--cache-dir {} and --state {} are one inside the other, but a cache may be deleted and state may not; \
             keep them apart",
            cache.display(),
            state.display()
        )));
    }
    Ok(())
}

/// What one process gives to its stores.
pub(crate) struct Local<'a> {
    /// Memory of each store.
    pub(crate) memory: ByteSize,
    pub(crate) args: &'a StoreArgs,
    /// When a slow read is asked a second time.
    pub(crate) hedge_factor: Option<f64>,
    /// What the stores report to, if anybody looks.
    pub(crate) metrics: Option<Arc<ForstMetrics>>,
}

/// Metrics of stores, in a registry.
pub(crate) fn metrics(registry: &mut Registry) -> Arc<ForstMetrics> {
    let metrics = ForstMetrics::new(Arc::new(SystemClock::new()));
    metrics.register(registry);
    metrics
}

/// A factory on a store; `near` if its requests stay on this machine.
///
/// # Errors
/// `Invalid` for a cache folder that cannot be used.
pub(crate) fn open(
    local: Local<'_>,
    store: &Arc<dyn ObjectStore>,
    near: bool,
    io: &IoRuntime,
) -> Result<Arc<ForstBackendFactory>> {
    let settings = local.args.settings(local.memory, near);
    let fetch = FetchSettings { hedge_factor: local.hedge_factor, ..settings.fetch };
    let settings = ForstSettings { fetch, ..settings };
    let factory = ForstBackendFactory::new(settings, Arc::clone(store), io.clone())?;
    Ok(Arc::new(match local.metrics {
        Some(metrics) => factory.with_metrics(metrics),
        None => factory,
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        store: StoreArgs,
    }

    fn parse(arguments: &[&str]) -> Result<StoreArgs, String> {
        let line = Line::try_parse_from([&["command"], arguments].concat());
        line.map(|line| line.store).map_err(|error| error.to_string())
    }

    fn settings(arguments: &[&str]) -> ForstSettings {
        let args = parse(arguments).unwrap();
        args.check(None, ".alluvium/test").unwrap();
        args.settings(ByteSize::mib(7), false)
    }

    #[test]
    fn without_an_option_a_store_has_its_defaults() {
        let (found, defaults) = (settings(&[]), ForstSettings::default());
        assert_eq!(found.memory_bytes, 7 << 20);
        assert_eq!(found.block_size_bytes, defaults.block_size_bytes);
        assert_eq!(defaults.block_size_bytes, 4 << 10, "the help says so");
        assert_eq!(
            (found.compression, found.cold_compression),
            (defaults.compression, defaults.cold_compression)
        );
        assert_eq!(found.cache_size_bytes, defaults.cache_size_bytes);
        assert_eq!(found.fetch.max_requests, defaults.fetch.max_requests);
        assert_eq!(found.fetch.max_requests, 512, "the help says so");
        assert_eq!(found.coalesce_gap_bytes, defaults.coalesce_gap_bytes);
        assert_eq!(found.coalesce_gap_bytes, 16 << 10, "the help says so");
        assert_eq!(found.paged_tables, defaults.paged_tables);
        assert_eq!(found.paged_tables, 1024, "the help says so");
        assert!(found.remote_compaction.is_none() && parse(&[]).unwrap().given().next().is_none());
        let least = settings(&["--compaction", "remote"]).remote_compaction.unwrap().min_input_bytes;
        assert_eq!(least, RemoteCompactionSettings::default().min_input_bytes);
        assert_eq!(least, 8 << 20, "the help says so");
    }

    #[test]
    fn a_compression_is_written_by_name_and_shown_as_it_is_written() {
        for (text, expected) in [
            ("none", Compression::None),
            ("lz4", Compression::Lz4),
            ("zstd:1", Compression::Zstd { level: 1 }),
            ("zstd:3", Compression::Zstd { level: 3 }),
        ] {
            assert_eq!(compression(text).as_ref(), Ok(&expected));
            assert_eq!(name_of(expected), text);
            assert_eq!(settings(&["--compression", text]).compression, expected);
            for option in ["--cold-compression", "--bottommost-compression"] {
                let found = settings(&[option, text]);
                assert_eq!((found.compression, found.cold_compression), (Compression::Lz4, expected));
            }
        }
        assert_eq!(compression("zstd"), Ok(Compression::Zstd { level: 1 }));
        for text in ["", "snappy", "LZ4", "zstd:", "zstd:0", "zstd:4", "zstd:-1", "zstd:x", "lz4:1", "zstd 1"]
        {
            let refused = parse(&["--compression", text]).unwrap_err();
            assert!(refused.contains("zstd:LEVEL with a level from 1 to 3"), "{text}: {refused}");
        }
    }

    #[test]
    fn the_smallest_compaction_that_goes_out_is_a_size_and_needs_somewhere_to_go() {
        let option = "--remote-compaction-min-size";
        let remote = settings(&["--compaction", "remote", option, "64KiB"]).remote_compaction.unwrap();
        assert_eq!(remote.min_input_bytes, 64 << 10);
        let refused = parse(&[option, "64KiB"]).unwrap().check(None, "state").unwrap_err().to_string();
        assert!(refused.contains("--remote-compaction-min-size 64KiB"), "{refused}");
        assert!(refused.contains("--compaction home"), "{refused}");
    }

    #[test]
    fn what_a_store_is_told_beside_its_defaults_is_listed() {
        let line = [
            "--compression",
            "none",
            "--cold-compression",
            "zstd",
            "--block-size",
            "2KiB",
            "--max-requests",
            "9",
            "--coalesce-gap",
            "4KiB",
            "--no-restore-warm-up",
            "--paged-tables",
            "4",
            "--compaction",
            "remote",
            "--cache-dir",
            "c",
        ];
        assert_eq!(settings(&line).block_size_bytes, 2 << 10);
        assert_eq!(settings(&line).fetch.max_requests, 9);
        assert!(!settings(&line).warm_up && settings(&[]).warm_up);
        assert_eq!(settings(&line).coalesce_gap_bytes, 4 << 10);
        assert_eq!(settings(&line).paged_tables, 4);
        let given: Vec<_> = parse(&line).unwrap().given().collect();
        assert_eq!(
            given,
            [
                "--compression none",
                "--cold-compression zstd:1",
                "--block-size 2KiB",
                "--max-requests 9",
                "--coalesce-gap 4KiB",
                "--no-restore-warm-up",
                "--paged-tables 4",
                "--compaction remote",
                "--cache-dir c"
            ]
        );
    }
}
