//! A backend that keeps TTLs, around one that holds stamped bytes: values are stamped on the way in, judged and stripped
//! on the way out.
//!
//! States without a TTL pass through; they pay one look at an empty list, or at their state's place in it.
//!
//! **Threads**: the task thread's own, as every backend.
use std::borrow::Cow;
use std::sync::Arc;

use alluvium_env::Result;

use super::Lifetimes;
use super::lifetime::Lifetime;
use super::lifetimes::in_state;
use super::reading::{Renewals, Waiting, WaitingPage, WaitingReads};
use crate::{
    Access, Answered, BackendStats, CheckpointId, KeyedStateBackend, Lookup, Page, PageBuilder, PageRequest,
    ReadBatch, ReadId, SnapshotTask, StateDescriptor, StateEntries, StateId, StateScan, StateTable,
};

/// A backend that holds the bytes of states with a TTL as [`TtlBackend`] stamps them, folds adds by
/// [`StateDescriptor::merge_operator`], and asks its lifetimes what it may clean up.
pub trait StampedBackend: KeyedStateBackend {
    /// The lifetimes of all registered states.
    fn lifetimes(&self) -> &Arc<Lifetimes>;
}

/// See the module.
#[derive(Default)]
pub struct TtlBackend<B> {
    inner: B,
    waiting: WaitingReads,
    renewals: Renewals,
    stamped: Vec<u8>,
}

impl<B: StampedBackend> TtlBackend<B> {
    /// A backend around `inner`.
    pub fn new(inner: B) -> Self {
        Self { inner, waiting: WaitingReads::default(), renewals: Renewals::default(), stamped: Vec::new() }
    }

    /// What a reader sees of bytes that memory holds.
    fn visible<'a>(
        &self,
        key: &[u8],
        (state, lifetime): (StateId, &Lifetime),
        found: Lookup<'a>,
    ) -> Result<Lookup<'a>> {
        let Lookup::Hit(stored) = found else { return Ok(found) };
        let now = self.inner.lifetimes().time().now_millis();
        if lifetime.renews()
            && !self.renewals.is_due(key)
            && let Some(renewed) = lifetime.renewed(&stored, now).map_err(|e| in_state(e, state))?
        {
            self.renewals.add(key, renewed);
        }
        let visible = lifetime.visible(stored, now).map_err(|e| in_state(e, state))?;
        Ok(visible.map_or(Lookup::Absent, Lookup::Hit))
    }

    /// Before a state with a TTL is written: what reads have found due is older.
    fn write(&mut self, key: &[u8], lifetime: &Lifetime) -> Result<()> {
        self.renew()?;
        if lifetime.renews() {
            self.waiting.written(key);
        }
        Ok(())
    }

    fn renew(&mut self) -> Result<()> {
        for (key, stored) in self.renewals.take().into_iter().flatten() {
            self.inner.put(&key, &stored)?;
        }
        Ok(())
    }

    /// Takes the reads of a batch down that have to be judged when they are answered.
    fn await_answers(&mut self, batch: &ReadBatch) {
        let lifetimes = self.inner.lifetimes();
        for (id, key) in batch.iter() {
            if let Some((state, lifetime)) = lifetimes.of(key) {
                let claims = lifetime.renews().then(|| key.into());
                self.waiting.begin(id, Waiting::Key { state, lifetime: *lifetime, claims });
            }
        }
        for (id, request) in batch.pages().filter(|(_, request)| lifetimes.reach(request.prefix)) {
            self.waiting.begin(id, Waiting::Page(WaitingPage::new(request)));
        }
    }
}

/// Hands the answers of the backend inside on, judged.
struct Judge<'a> {
    lifetimes: &'a Lifetimes,
    now: u64,
    waiting: &'a mut WaitingReads,
    renewals: &'a Renewals,
    /// Pages in which nothing was left although more follows: they are asked for again.
    again: Vec<(ReadId, WaitingPage)>,
}

impl Judge<'_> {
    fn answer(&mut self, id: ReadId, answer: Result<Option<&[u8]>>, answered: &mut Answered<'_>) {
        match (self.waiting.end(id), answer) {
            (Some(Waiting::Key { state, lifetime, claims }), Ok(Some(stored))) => {
                let visible = self.key(&lifetime, claims.as_deref(), stored);
                match visible {
                    Ok(value) => answered(id, Ok(value.as_deref())),
                    Err(error) => answered(id, Err(in_state(error, state))),
                }
            }
            (Some(Waiting::Page(page)), Ok(Some(bytes))) => match self.page(&page, bytes) {
                Ok(Judged::Page(bytes)) => answered(id, Ok(Some(&bytes))),
                Ok(Judged::NothingBefore(last)) => {
                    let mut page = page;
                    page.go_on_behind(&last);
                    self.again.push((id, page));
                }
                Err(error) => answered(id, Err(error)),
            },
            (_, answer) => answered(id, answer),
        }
    }

    fn key<'v>(
        &self,
        lifetime: &Lifetime,
        claims: Option<&[u8]>,
        stored: &'v [u8],
    ) -> Result<Option<Cow<'v, [u8]>>> {
        if let Some(key) = claims
            && let Some(renewed) = lifetime.renewed(stored, self.now)?
        {
            self.renewals.add(key, renewed);
        }
        lifetime.visible(Cow::Borrowed(stored), self.now)
    }

    fn page(&self, page: &WaitingPage, bytes: &[u8]) -> Result<Judged> {
        let renewals = page.claims.then_some(self.renewals);
        judge_page(self.lifetimes, self.now, page.limit, renewals, bytes)
    }
}

/// What is left of a page.
enum Judged {
    Page(Vec<u8>),
    /// Nothing, but more may follow the entry of this key.
    NothingBefore(Vec<u8>),
}

/// Takes out of a page what nobody sees any more; never more than `limit` entries stay.
fn judge_page(
    lifetimes: &Lifetimes,
    now: u64,
    limit: u32,
    renewals: Option<&Renewals>,
    bytes: &[u8],
) -> Result<Judged> {
    let mut page = Page::decode(bytes)?;
    let mut judged = PageBuilder::new(limit);
    let (mut last, mut is_empty) = (None, true);
    while let Some((key, stored)) = page.next_entry()? {
        if judged.is_full() {
            return Ok(Judged::Page(judged.finish(true)));
        }
        last = Some(key);
        let Some((state, lifetime)) = lifetimes.of(key) else {
            judged.push(key, stored);
            is_empty = false;
            continue;
        };
        if let Some(renewals) = renewals
            && let Some(renewed) = lifetime.renewed(stored, now).map_err(|e| in_state(e, state))?
        {
            renewals.add(key, renewed);
        }
        let visible = lifetime.visible(Cow::Borrowed(stored), now).map_err(|e| in_state(e, state))?;
        if let Some(value) = visible {
            judged.push(key, &value);
            is_empty = false;
        }
    }
    Ok(match last {
        Some(last) if is_empty && page.more() => Judged::NothingBefore(last.to_vec()),
        _ => Judged::Page(judged.finish(page.more())),
    })
}

impl<B: StampedBackend> KeyedStateBackend for TtlBackend<B> {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        self.inner.register(descriptor)
    }

    /// They are stamped.
    fn import(&mut self, entries: &mut dyn StateEntries) -> Result<()> {
        self.inner.import(entries)
    }

    fn states(&mut self) -> Option<&mut StateTable> {
        self.inner.states()
    }

    #[inline]
    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        let found = self.inner.try_get(key)?;
        match self.inner.lifetimes().of(key) {
            None => Ok(found),
            Some(lifetime) => self.visible(key, lifetime, found),
        }
    }

    fn prefetch(&self, keys: &mut dyn Iterator<Item = &[u8]>, access: Access) {
        self.inner.prefetch(keys, access);
    }

    #[inline]
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let Some((_, lifetime)) = self.inner.lifetimes().of(key) else { return self.inner.put(key, value) };
        let lifetime = *lifetime;
        self.write(key, &lifetime)?;
        if lifetime.clears(value) {
            return self.inner.delete(key);
        }
        let now = self.inner.lifetimes().time().now_millis();
        lifetime.stamp(value, now, &mut self.stamped)?;
        self.inner.put(key, &self.stamped)
    }

    #[inline]
    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        let Some((_, lifetime)) = self.inner.lifetimes().of(key) else {
            return self.inner.merge(key, operand);
        };
        let lifetime = *lifetime;
        self.write(key, &lifetime)?;
        let now = self.inner.lifetimes().time().now_millis();
        lifetime.stamp(operand, now, &mut self.stamped)?;
        self.inner.merge(key, &self.stamped)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        if let Some((_, lifetime)) = self.inner.lifetimes().of(key) {
            let lifetime = *lifetime;
            self.write(key, &lifetime)?;
        }
        self.inner.delete(key)
    }

    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        self.renew()?;
        self.waiting.prefix_deleted(prefix);
        self.inner.delete_prefix(prefix)
    }

    fn try_page(&self, request: PageRequest<'_>) -> Result<Lookup<'_>> {
        let lifetimes = self.inner.lifetimes();
        if !lifetimes.reach(request.prefix) {
            return self.inner.try_page(request);
        }
        let mut page = WaitingPage::new(request);
        let now = lifetimes.time().now_millis();
        loop {
            let Lookup::Hit(bytes) = self.inner.try_page(page.inner_request())? else {
                return Ok(Lookup::Miss);
            };
            match judge_page(lifetimes, now, page.limit, Some(&self.renewals), &bytes)? {
                Judged::Page(bytes) => return Ok(Lookup::Hit(Cow::Owned(bytes))),
                Judged::NothingBefore(last) => page.go_on_behind(&last),
            }
        }
    }

    fn submit(&mut self, batch: ReadBatch) {
        if !self.inner.lifetimes().is_empty() {
            self.await_answers(&batch);
        }
        self.inner.submit(batch);
    }

    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        if self.inner.lifetimes().is_empty() {
            return self.inner.poll(answered);
        }
        self.renew()?;
        let lifetimes = Arc::clone(self.inner.lifetimes());
        let Self { inner, waiting, renewals, .. } = self;
        let now = lifetimes.time().now_millis();
        let mut judge = Judge { lifetimes: &lifetimes, now, waiting, renewals, again: Vec::new() };
        inner.poll(&mut |id, answer| judge.answer(id, answer, answered))?;
        let again = judge.again;
        if !again.is_empty() {
            let mut batch = ReadBatch::default();
            for (id, page) in again {
                batch.push_page(id, page.inner_request());
                self.waiting.begin(id, Waiting::Page(page));
            }
            self.inner.submit(batch);
        }
        self.renew()
    }

    fn admits(&self) -> bool {
        self.inner.admits()
    }

    fn snapshot(&mut self, id: CheckpointId) -> Result<SnapshotTask> {
        self.renew()?;
        self.inner.snapshot(id)
    }

    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>> {
        self.renew()?;
        let scan = self.inner.scan(state)?;
        let lifetimes = Arc::clone(self.inner.lifetimes());
        if lifetimes.is_empty() {
            return Ok(scan);
        }
        let now = lifetimes.time().now_millis();
        Ok(Box::new(JudgedScan { scan, lifetimes, now, key: Vec::new(), value: Vec::new() }))
    }

    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}

/// A scan as of the moment it began.
struct JudgedScan {
    scan: Box<dyn StateScan>,
    lifetimes: Arc<Lifetimes>,
    now: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl StateScan for JudgedScan {
    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while let Some((key, stored)) = self.scan.next_entry()? {
            let visible = match self.lifetimes.of(key) {
                None => Some(Cow::Borrowed(stored)),
                Some((state, lifetime)) => {
                    lifetime.visible(Cow::Borrowed(stored), self.now).map_err(|e| in_state(e, state))?
                }
            };
            if let Some(value) = visible {
                self.key.clear();
                self.key.extend_from_slice(key);
                self.value.clear();
                self.value.extend_from_slice(&value);
                return Ok(Some((&self.key, &self.value)));
            }
        }
        Ok(None)
    }
}
