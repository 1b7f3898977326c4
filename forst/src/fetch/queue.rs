//! Reads of what is near, a store or the disk tier: the I/O runtime answers them, and the task thread one of them at each poll.
//!
//! Copying a block out of the page cache and unpacking it is work, not waiting: to hand all of it to another thread leaves
//! one core idle and the other short of time. So requests lie in a queue, and whoever has time takes the next. A request is
//! polled where it was taken; if it has to wait after all, for a disk or a permit, it waits on the runtime.
//!
//! **Threads**: shared; the lock is held for a push or a pop.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{Instrument as _, Span};

use super::{FetchParts, FetchRequest, Fetched, Fetcher, TABLES_A_TASK, Wanted};

/// Blocks of a request at most: what a task thread reads in a tenth of a millisecond, before it looks up again.
const MAX_BLOCKS: usize = 32;

type Done = Arc<dyn Fn(Fetched) + Send + Sync>;

struct Queued {
    request: FetchRequest,
    done: Done,
    span: Span,
}

/// Requests that nobody has taken.
#[derive(Default)]
pub(super) struct Queue {
    requests: Mutex<VecDeque<Queued>>,
    /// How many there are, for whoever only wants to know whether to look.
    len: AtomicUsize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Queued>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many have come, and how many there are.
    fn push(&self, requests: impl Iterator<Item = Queued>) -> (usize, usize) {
        let mut queue = self.lock();
        let before = queue.len();
        queue.extend(requests);
        self.len.store(queue.len(), Ordering::Relaxed);
        (queue.len() - before, queue.len())
    }

    fn pop(&self) -> Option<Queued> {
        if self.is_empty() {
            return None;
        }
        let mut queue = self.lock();
        let next = queue.pop_front();
        self.len.store(queue.len(), Ordering::Relaxed);
        next
    }

    fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }
}

/// A request in pieces that are soon done.
fn pieces(FetchRequest { file, parts }: FetchRequest) -> Vec<FetchRequest> {
    match parts {
        FetchParts::Blocks(blocks) if blocks.len() > MAX_BLOCKS => {
            let piece = |blocks: &[Wanted]| FetchRequest {
                file: Arc::clone(&file),
                parts: FetchParts::Blocks(blocks.to_vec()),
            };
            blocks.chunks(MAX_BLOCKS).map(piece).collect()
        }
        parts => vec![FetchRequest { file, parts }],
    }
}

impl Fetcher {
    /// Has requests answered by whoever has time: whoever calls this will look whether help is needed.
    pub(super) fn enqueue(self: &Arc<Self>, requests: Vec<FetchRequest>, done: &Done, span: &Span) {
        let queued = |request| Queued { request, done: Arc::clone(done), span: span.clone() };
        let (come, waiting) = self.queue.push(requests.into_iter().flat_map(pieces).map(queued));
        if waiting == 1 {
            // The task thread is at it before another could have woken up.
            return;
        }
        // Those that came before have theirs.
        for _ in 0..come.div_ceil(TABLES_A_TASK) {
            let fetcher = Arc::clone(self);
            drop(self.io.spawn(async move {
                while (0..TABLES_A_TASK).all(|_| fetcher.take_one()) {
                    // Uploads and the reads of compactions have their turn.
                    tokio::task::yield_now().await;
                }
            }));
        }
    }

    /// Answers one request, or begins to; `false` if there is none.
    fn take_one(self: &Arc<Self>) -> bool {
        let Some(Queued { request, done, span }) = self.queue.pop() else { return false };
        let fetcher = Arc::clone(self);
        self.io.begin(async move { fetcher.answer(request, done.as_ref()).await }.instrument(span));
        true
    }

    /// Lends a hand with what waits, if anything does. For the task thread: what cannot be answered at once is left to the
    /// runtime.
    pub(crate) fn help(self: &Arc<Self>) {
        self.take_one();
    }

    /// Whether there is something to help with.
    pub(crate) fn needs_help(&self) -> bool {
        !self.queue.is_empty()
    }
}
