//! `alluvium compactor`: does the compactions that jobs offer on a store, one after another.
//!
//! **Failure**: a store that does not answer is asked again. A job that cannot be done is given back, with a sentence here.
mod args;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use alluvium_env::{Clock as _, Entropy, IoRuntime, Result, SystemClock, cores};
use alluvium_forst::{Compactor, CompactorOptions, CompactorSettings, StateOperators, Turn};
use alluvium_host::storage::Storage;
use alluvium_state_api::OperatorRegistry;

use crate::signals::on_signal;
use crate::units::ByteSize;
use crate::{Failure, budget, sentence, state};
pub(crate) use args::{CompactorArgs, EXAMPLES};

/// With nothing to do it looks this much less often: less than a job waits for somebody to take it.
const LAZINESS: u32 = 2;

/// What has been done.
#[derive(Default)]
struct Tally {
    jobs: u64,
    read_bytes: u64,
    written_bytes: u64,
}

/// Works until it is stopped, or has nothing more to do.
///
/// # Errors
/// `Usage` for what the command line alone shows to be wrong, `Job` for everything else.
pub(crate) fn run(args: &CompactorArgs) -> Result<(), Failure> {
    let memory = budget::compactor(args.memory).map_err(Failure::Usage)?;
    let tally = work(args, memory).map_err(Failure::Job)?;
    let Tally { jobs, read_bytes, written_bytes } = tally;
    eprintln!("{jobs} compactions, {} read, {} written.", ByteSize(read_bytes), ByteSize(written_bytes));
    Ok(())
}

fn open(storage: &Storage, memory: ByteSize, io: IoRuntime) -> Result<Compactor> {
    let defaults = CompactorSettings::default();
    Compactor::new(CompactorOptions {
        store: Arc::clone(&storage.store),
        io,
        settings: CompactorSettings {
            memory_bytes: memory.0,
            vectored_reads: storage.local,
            coalesce_gap_bytes: if storage.local { 0 } else { defaults.coalesce_gap_bytes },
            ..defaults
        },
        operators: Arc::new(StateOperators::new(OperatorRegistry::default())),
        clock: Arc::new(SystemClock::new()),
        entropy: Entropy::from_os(),
    })
}

fn work(args: &CompactorArgs, memory: ByteSize) -> Result<Tally> {
    let io = IoRuntime::new(cores().clamp(2, 4))?;
    let storage = state::open_beside(&state::locate(&args.state)?, &io)?;
    let compactor = open(&storage, memory, io)?;
    let (wake, stopped) = channel();
    let stop = compactor.stop_handle();
    on_signal("Stopping; once more to stop at once.", move || {
        stop.stop();
        // It may be waiting for the next look.
        let _ = wake.send(());
    })?;
    eprintln!("Looking for compactions to do in {}; Ctrl-C stops.", storage.url());
    let (clock, mut tally) = (SystemClock::new(), Tally::default());
    let (mut pause, mut idle_since) = (args.poll.0, clock.monotonic());
    while !compactor.stop_handle().is_stopped() {
        let turn = compactor.turn();
        if let Some(said) = tally.take(turn.as_ref()) {
            eprintln!("{}", sentence(&said));
        }
        if matches!(turn, Ok(Turn::Done { .. } | Turn::Withdrawn { .. } | Turn::Failed { .. })) {
            (pause, idle_since) = (args.poll.0, clock.monotonic());
            continue;
        }
        let idle_for = clock.monotonic().saturating_sub(idle_since);
        let is_over = args.idle_exit.0.is_some_and(|limit| idle_for >= limit);
        if is_over || (args.once && matches!(turn, Ok(Turn::Idle))) || !wait(&stopped, pause) {
            break;
        }
        pause = (pause * LAZINESS).min(args.poll.0 * LAZINESS);
    }
    Ok(tally)
}

/// Whether to go on, after a pause.
fn wait(stopped: &Receiver<()>, pause: Duration) -> bool {
    stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
}

impl Tally {
    /// Counts a turn; says what a person wants to know of it.
    fn take(&mut self, turn: Result<&Turn, &alluvium_env::Error>) -> Option<String> {
        match turn {
            Ok(Turn::Idle) => None,
            Ok(Turn::Done { job, read_bytes, written_bytes, took }) => {
                self.jobs += 1;
                self.read_bytes += read_bytes;
                self.written_bytes += written_bytes;
                Some(format!(
                    "Done: {job}, {} read, {} written, in {:.1} s",
                    ByteSize(*read_bytes),
                    ByteSize(*written_bytes),
                    took.as_secs_f64()
                ))
            }
            Ok(Turn::Withdrawn { job }) => Some(format!("Given up, since its owner does it now: {job}")),
            Ok(Turn::GivenBack { job }) => Some(format!("Given back: {job}")),
            Ok(Turn::Failed { job, error }) => Some(format!("Failed: {job}: {error}")),
            Ok(Turn::Left { job, error }) => Some(format!("Left to others: {job}: {error}")),
            Err(error) => Some(format!("Cannot look for compactions now: {error}")),
        }
    }
}
