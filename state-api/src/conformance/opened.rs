//! A backend under test, with its states and its bell.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{check, descriptor, reducing};
use crate::{
    FileOwnership, KeyedStateBackend, Lookup, Notify, Page, PageRequest, ReadBatch, ReadId, StateId,
    StateKind,
};

pub(super) struct Nobody;

impl FileOwnership for Nobody {
    fn hold(&self, _: &str) {}
    fn release(&self, _: &str) {}
}

#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    pub(super) fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.wake.wait_timeout_while(rung, Duration::from_secs(30), |rung| !*rung);
        let (mut rung, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "a backend rang no bell for 30 s although it had work under way");
        *rung = false;
    }

    pub(super) fn notify(self: &Arc<Self>) -> Notify {
        let bell = Arc::clone(self);
        Arc::new(move || {
            *bell.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            bell.wake.notify_all();
        })
    }
}

pub(super) struct Opened {
    pub(super) backend: Box<dyn KeyedStateBackend>,
    pub(super) bell: Arc<Bell>,
    pub(super) value: StateId,
    pub(super) sum: StateId,
    pub(super) list: StateId,
    pub(super) map: StateId,
}

pub(super) fn next_incarnation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Opened {
    /// Registers a state of each kind.
    pub(super) fn new(mut backend: Box<dyn KeyedStateBackend>, bell: Arc<Bell>) -> Self {
        let value = check("register", backend.register(&descriptor("value", StateKind::Value)));
        let sum = check("register", backend.register(&descriptor("sum", reducing())));
        let list = check("register", backend.register(&descriptor("list", StateKind::List)));
        let map = check("register", backend.register(&descriptor("map", StateKind::Map)));
        Self { backend, bell, value, sum, list, map }
    }

    /// Reads as the controller does: memory first, then a batch.
    pub(super) fn get_all(&mut self, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut values = vec![None; keys.len()];
        let mut batch = ReadBatch::default();
        for (index, key) in keys.iter().enumerate() {
            match check("try_get", self.backend.try_get(key)) {
                Lookup::Hit(value) => values[index] = Some(value.into_owned()),
                Lookup::Absent => {}
                Lookup::Miss => batch.push(ReadId(index as u32), key),
            }
        }
        let mut open = batch.len();
        let mut seen = vec![false; keys.len()];
        self.backend.submit(batch);
        while open > 0 {
            let polled = self.backend.poll(&mut |id, answer| {
                let index = id.0 as usize;
                assert!(!std::mem::replace(&mut seen[index], true), "read {index} was answered twice");
                values[index] = check("read", answer).map(<[u8]>::to_vec);
                open -= 1;
            });
            check("poll", polled);
            if open > 0 {
                self.bell.wait();
            }
        }
        values
    }

    pub(super) fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get_all(&[key.to_vec()]).remove(0)
    }

    /// All entries of a prefix, page by page: from memory where it knows, else by a batch.
    pub(super) fn entries(&mut self, prefix: &[u8], limit: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        loop {
            let after = entries.last().map(|(key, _)| key.clone());
            let request = PageRequest { prefix, after: after.as_deref(), limit };
            let bytes = match check("try_page", self.backend.try_page(request)) {
                Lookup::Hit(page) => page.into_owned(),
                Lookup::Absent => panic!("a page is never absent"),
                Lookup::Miss => self.read_page(request),
            };
            let mut page = check("page", Page::decode(&bytes));
            let before = entries.len();
            while let Some((key, value)) = check("page", page.next_entry()) {
                assert!(key.starts_with(prefix), "an entry of another prefix");
                assert!(entries.last().is_none_or(|(last, _)| last.as_slice() < key), "entries ascend");
                entries.push((key.to_vec(), value.to_vec()));
            }
            assert!(entries.len() - before <= limit as usize, "a page over its limit");
            if !page.more() {
                return entries;
            }
            assert!(entries.len() > before, "a page without entries says that more follow");
        }
    }

    fn read_page(&mut self, request: PageRequest<'_>) -> Vec<u8> {
        let mut batch = ReadBatch::default();
        batch.push_page(ReadId(0), request);
        self.backend.submit(batch);
        let mut page = None;
        while page.is_none() {
            let polled = self.backend.poll(&mut |_, answer| {
                page = check("page", answer).map(<[u8]>::to_vec);
                assert!(page.is_some(), "a page is never absent");
            });
            check("poll", polled);
            if page.is_none() {
                self.bell.wait();
            }
        }
        page.unwrap_or_default()
    }

    pub(super) fn settle(&mut self) {
        while !self.backend.admits() {
            check("poll", self.backend.poll(&mut |_, _| panic!("an answer to no read")));
            if !self.backend.admits() {
                self.bell.wait();
            }
        }
    }

    pub(super) fn scan(&mut self, state: StateId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut scan = check("scan", self.backend.scan(state));
        let mut entries = Vec::new();
        while let Some((key, value)) = check("scan", scan.next_entry()) {
            entries.push((key.to_vec(), value.to_vec()));
        }
        entries
    }
}
