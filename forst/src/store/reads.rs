//! Batched reads: planned on the task thread, fetched on the I/O runtime, answered in one hand-off (FLIP-426).
//!
//! A batch is sorted by key, so the walk goes through filters and indexes in their order. A part that is being
//! fetched is not fetched again: later reads wait for it too.
use std::sync::Arc;

use alluvium_env::{Error, HashMap, Result};

use super::inbox::{Event, Inbox};
use super::walk::{GotBlock, Need, TAIL};
use super::{Answered, Resident, Store};
use crate::fetch::{FetchParts, FetchRequest, Fetched, FetchedPart};
use crate::table::FileId;

/// A read that waits for parts.
struct Waiting {
    token: u64,
    key: Box<[u8]>,
    got: Vec<GotBlock>,
    missing: u32,
    failed: Option<Error>,
}

/// All reads under way.
#[derive(Default)]
pub(super) struct Reads {
    waiting: Vec<Option<Waiting>>,
    free: Vec<u32>,
    /// Who waits for a part; a part with an entry is being fetched.
    parts: HashMap<(FileId, u32), Vec<u32>>,
    /// Reads that memory could answer after all.
    ready: Vec<(u64, Result<Option<Vec<u8>>>)>,
}

impl Reads {
    fn park(&mut self, waiting: Waiting) -> u32 {
        if let Some(index) = self.free.pop() {
            if let Some(slot) = self.waiting.get_mut(index as usize) {
                *slot = Some(waiting);
            }
            return index;
        }
        self.waiting.push(Some(waiting));
        (self.waiting.len() - 1) as u32
    }

    fn unpark(&mut self, index: u32) -> Option<Waiting> {
        self.free.push(index);
        self.waiting.get_mut(index as usize).and_then(Option::take)
    }
}

impl Store {
    /// Starts reads; [`Store::poll`] answers each by its token.
    pub fn read<'k>(&mut self, batch: impl IntoIterator<Item = (u64, &'k [u8])>) {
        let mut batch: Vec<_> = batch.into_iter().collect();
        batch.sort_unstable_by_key(|(_, key)| *key);
        let mut needs = Vec::new();
        for (token, key) in batch {
            let waiting = Waiting { token, key: key.into(), got: Vec::new(), missing: 0, failed: None };
            self.plan(waiting, &mut needs);
        }
        self.fetch(needs);
        if !self.reads.ready.is_empty() {
            self.inbox.ring();
        }
    }

    /// Answers a read from memory or parks it with the parts it needs.
    fn plan(&mut self, mut waiting: Waiting, to_fetch: &mut Vec<Need>) {
        let mut needs = Vec::new();
        let answer = match self.walk(&waiting.key, &waiting.got, Some(&mut needs)) {
            Ok(Resident::Miss) => {
                waiting.missing = needs.len() as u32;
                let index = self.reads.park(waiting);
                for need in needs {
                    let waiters = self.reads.parts.entry((need.file.id, need.part)).or_default();
                    waiters.push(index);
                    if waiters.len() == 1 {
                        to_fetch.push(need);
                    }
                }
                return;
            }
            Ok(Resident::Value(value)) => Ok(Some(value.into_owned())),
            Ok(Resident::Absent) => Ok(None),
            Err(error) => Err(error),
        };
        self.reads.ready.push((waiting.token, answer));
    }

    /// Groups parts by table and has them fetched.
    fn fetch(&self, mut needs: Vec<Need>) {
        if needs.is_empty() {
            return;
        }
        needs.sort_unstable_by_key(|need| (need.file.id, need.part));
        let mut needs = needs.into_iter().peekable();
        let mut requests = Vec::new();
        while let Some(first) = needs.next() {
            let file = first.file;
            let mut blocks = vec![first.part];
            while let Some(next) = needs.next_if(|next| next.file.id == file.id && next.part != TAIL) {
                blocks.push(next.part);
            }
            let parts = if first.part == TAIL { FetchParts::Tail } else { FetchParts::Blocks(blocks) };
            requests.push(FetchRequest { file, parts });
        }
        let inbox: Arc<Inbox> = Arc::clone(&self.inbox);
        self.fetcher.start(requests, Arc::new(move |fetched| inbox.push(Event::Fetched(fetched))));
    }

    /// Keeps what arrived and lets the reads that waited for it go on.
    pub(super) fn take_fetched(&mut self, fetched: Fetched, answered: &mut Answered<'_>) {
        self.counters.disk_hits += fetched.from_disk;
        self.counters.misses += fetched.from_store;
        let id = fetched.file.id;
        let mut needs = Vec::new();
        let mut tail_arrived = false;
        for part in fetched.parts {
            let (number, outcome) = match part {
                FetchedPart::Tail(tail) => {
                    tail_arrived = true;
                    (TAIL, tail.map(|_| None))
                }
                FetchedPart::Block(number, block) => (number, block.map(Some)),
            };
            if let Ok(Some(block)) = &outcome {
                self.cache.insert(id, number, Arc::clone(block));
            }
            for index in self.reads.parts.remove(&(id, number)).unwrap_or_default() {
                let Some(Some(waiting)) = self.reads.waiting.get_mut(index as usize) else { continue };
                waiting.missing -= 1;
                match &outcome {
                    Ok(Some(block)) => waiting.got.push((id, number, Arc::clone(block))),
                    Ok(None) => {}
                    Err(error) => waiting.failed = Some(error.duplicate()),
                }
                if waiting.missing == 0 {
                    self.go_on(index, &mut needs, answered);
                }
            }
        }
        if tail_arrived {
            self.account_tails();
        }
        self.fetch(needs);
    }

    /// A read has all it asked for: it is answered, or finds that it needs more.
    fn go_on(&mut self, index: u32, needs: &mut Vec<Need>, answered: &mut Answered<'_>) {
        let Some(mut waiting) = self.reads.unpark(index) else { return };
        if let Some(error) = waiting.failed.take() {
            return answered(waiting.token, Err(error));
        }
        match self.walk(&waiting.key, &waiting.got, None) {
            Ok(Resident::Value(value)) => answered(waiting.token, Ok(Some(&value))),
            Ok(Resident::Absent) => answered(waiting.token, Ok(None)),
            Ok(Resident::Miss) => self.plan(waiting, needs),
            Err(error) => answered(waiting.token, Err(error)),
        }
    }

    /// Answers the reads that needed no fetch.
    pub(super) fn answer_ready(&mut self, answered: &mut Answered<'_>) {
        for (token, answer) in self.reads.ready.drain(..) {
            match answer {
                Ok(value) => answered(token, Ok(value.as_deref())),
                Err(error) => answered(token, Err(error)),
            }
        }
    }

    /// Gives the blocks what the tails of live tables leave of the budget.
    pub(super) fn account_tails(&mut self) {
        let tails =
            self.version.files().filter_map(|(_, file)| file.tail()).map(|tail| tail.size_bytes()).sum();
        self.cache.make_room(tails);
    }

    /// Reads that are not answered.
    pub fn reads_under_way(&self) -> usize {
        self.reads.waiting.len() - self.reads.free.len() + self.reads.ready.len()
    }
}
