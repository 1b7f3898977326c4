//! Reads that the backend inside has not answered yet, as far as states with a TTL are concerned; and the renewals that
//! reads have found due.
//!
//! **Invariants**: a renewal writes what a read has seen, so it must not overwrite anything newer. Renewals that are due
//! are written before the next write of any state with a TTL. A read that waits claims its keys; a write of such a key
//! takes the claim away, and an answer without its claim renews nothing: the write has. (A page has one claim for all
//! of its keys, so a write below its prefix leaves its other entries to the next read.)
use std::cell::RefCell;

use alluvium_env::HashMap;

use super::lifetime::Lifetime;
use crate::{PageRequest, ReadId, StateId};

/// A read that waits.
pub(super) enum Waiting {
    /// Of a key. `claims` if an answer may renew it.
    Key { state: StateId, lifetime: Lifetime, claims: Option<Box<[u8]>> },
    /// Of a page.
    Page(WaitingPage),
}

/// A page that waits.
pub(super) struct WaitingPage {
    pub(super) prefix: Box<[u8]>,
    pub(super) after: Option<Box<[u8]>>,
    /// Entries that were asked for.
    pub(super) limit: u32,
    /// Entries that the backend inside is asked for.
    pub(super) inner_limit: u32,
    /// Whether nothing below the prefix was written since.
    pub(super) claims: bool,
}

impl WaitingPage {
    pub(super) fn new(request: PageRequest<'_>) -> Self {
        Self {
            prefix: request.prefix.into(),
            after: request.after.map(Into::into),
            limit: request.limit.max(1),
            inner_limit: request.limit.max(1),
            claims: true,
        }
    }

    pub(super) fn inner_request(&self) -> PageRequest<'_> {
        PageRequest { prefix: &self.prefix, after: self.after.as_deref(), limit: self.inner_limit }
    }

    /// Goes on behind a page in which nothing was left: in larger steps, since there may be much that has expired.
    pub(super) fn go_on_behind(&mut self, last: &[u8]) {
        const MOST: u32 = 8192;
        self.after = Some(last.into());
        self.claims = true;
        self.inner_limit = self.inner_limit.saturating_mul(2).min(MOST.max(self.limit));
    }
}

/// All reads that wait, by their ids.
#[derive(Default)]
pub(super) struct WaitingReads {
    reads: Vec<Option<Waiting>>,
    pages: Vec<ReadId>,
    /// Which reads claim a key.
    claims: HashMap<Box<[u8]>, Vec<ReadId>>,
}

impl WaitingReads {
    pub(super) fn begin(&mut self, id: ReadId, waiting: Waiting) {
        match &waiting {
            Waiting::Key { claims: Some(key), .. } => self.claims.entry(key.clone()).or_default().push(id),
            Waiting::Key { .. } => {}
            Waiting::Page(_) => self.pages.push(id),
        }
        let index = id.0 as usize;
        if self.reads.len() <= index {
            self.reads.resize_with(index + 1, || None);
        }
        if let Some(place) = self.reads.get_mut(index) {
            *place = Some(waiting);
        }
    }

    /// Ends a read. A claim that it has lost is gone from it.
    pub(super) fn end(&mut self, id: ReadId) -> Option<Waiting> {
        let mut waiting = self.reads.get_mut(id.0 as usize)?.take()?;
        match &mut waiting {
            Waiting::Page(_) => self.pages.retain(|page| *page != id),
            Waiting::Key { claims, .. } => {
                if let Some(key) = claims.take_if(|key| !self.release(key, id)) {
                    drop(key);
                }
            }
        }
        Some(waiting)
    }

    /// Gives a claim back; whether it still stood.
    fn release(&mut self, key: &[u8], id: ReadId) -> bool {
        let Some(ids) = self.claims.get_mut(key) else { return false };
        let before = ids.len();
        ids.retain(|other| *other != id);
        let stood = ids.len() < before;
        if ids.is_empty() {
            self.claims.remove(key);
        }
        stood
    }

    /// A key is written: nobody renews it with what was read before.
    pub(super) fn written(&mut self, key: &[u8]) {
        if !self.claims.is_empty() {
            self.claims.remove(key);
        }
        self.disown_pages(|prefix| key.starts_with(prefix));
    }

    /// As [`WaitingReads::written`], for every key that begins with `deleted`.
    pub(super) fn prefix_deleted(&mut self, deleted: &[u8]) {
        self.claims.retain(|key, _| !key.starts_with(deleted));
        self.disown_pages(|prefix| prefix.starts_with(deleted) || deleted.starts_with(prefix));
    }

    fn disown_pages(&mut self, meets: impl Fn(&[u8]) -> bool) {
        for id in &self.pages {
            if let Some(Some(Waiting::Page(page))) = self.reads.get_mut(id.0 as usize)
                && meets(&page.prefix)
            {
                page.claims = false;
            }
        }
    }
}

/// Renewals that are due, by key: stamped and ready to be put. Reads find them, and reads cannot write.
#[derive(Default)]
pub(super) struct Renewals(RefCell<HashMap<Box<[u8]>, Vec<u8>>>);

impl Renewals {
    pub(super) fn is_due(&self, key: &[u8]) -> bool {
        self.0.borrow().contains_key(key)
    }

    pub(super) fn add(&self, key: &[u8], stored: Vec<u8>) {
        self.0.borrow_mut().insert(key.into(), stored);
    }

    pub(super) fn take(&mut self) -> Option<HashMap<Box<[u8]>, Vec<u8>>> {
        let due = self.0.get_mut();
        (!due.is_empty()).then(|| std::mem::take(due))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{StateKind, StateTtl};

    fn key(key: &[u8]) -> Waiting {
        let lifetime = Lifetime::new(&StateKind::Value, StateTtl::new(Duration::from_secs(1)), 0);
        Waiting::Key { state: StateId(0), lifetime, claims: Some(key.into()) }
    }

    fn still_claims(waiting: Option<Waiting>) -> bool {
        match waiting {
            Some(Waiting::Key { claims, .. }) => claims.is_some(),
            Some(Waiting::Page(page)) => page.claims,
            None => unreachable!("the read is gone"),
        }
    }

    #[test]
    fn a_write_takes_the_claims_of_reads_before_it_and_of_no_read_behind_it() {
        let mut reads = WaitingReads::default();
        reads.begin(ReadId(0), key(b"a"));
        reads.begin(ReadId(3), key(b"b"));
        reads.written(b"a");
        reads.begin(ReadId(1), key(b"a"));
        assert!(!still_claims(reads.end(ReadId(0))));
        assert!(still_claims(reads.end(ReadId(1))));
        assert!(still_claims(reads.end(ReadId(3))));
        assert!(reads.end(ReadId(3)).is_none() && reads.end(ReadId(9)).is_none());
        assert!(reads.claims.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_page_loses_its_claim_to_writes_below_its_prefix_only() {
        let page =
            |prefix: &[u8]| Waiting::Page(WaitingPage::new(PageRequest { prefix, after: None, limit: 3 }));
        let mut reads = WaitingReads::default();
        for (id, prefix) in [b"aa", b"ab", b"ba"].into_iter().enumerate() {
            reads.begin(ReadId(id as u32), page(prefix));
        }
        reads.begin(ReadId(3), key(b"baa"));
        reads.written(b"ab1");
        reads.prefix_deleted(b"b");
        assert!(still_claims(reads.end(ReadId(0))));
        assert!(!still_claims(reads.end(ReadId(1))));
        assert!(!still_claims(reads.end(ReadId(2))));
        assert!(!still_claims(reads.end(ReadId(3))));
        assert!(reads.pages.is_empty());
    }
}
