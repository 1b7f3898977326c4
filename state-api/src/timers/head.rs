//! The next timers of one key group, and how far they are known.
//!
//! A page that is being read shows state as of some moment between its request and its answer. So what is registered or
//! deleted above the floor meanwhile is kept beside it, and decides. That is kept within bounds as well: what passes them is
//! forgotten from the top, and the floor then stays below it. If the head itself gives timers up meanwhile, the page has
//! begun too late, and is not used at all.
use std::collections::BTreeMap;

use alluvium_env::HashSet;

use super::{TimerKey, TimerLimits, Timestamp};

/// How far a key group's timers are known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Floor {
    /// Nothing is known.
    Bottom,
    /// All up to and with this one.
    At(TimerKey),
    /// All.
    Top,
}

impl Floor {
    fn covers(&self, timer: &[u8]) -> bool {
        match self {
            Self::Bottom => false,
            Self::At(floor) => timer <= floor.as_bytes(),
            Self::Top => true,
        }
    }
}

/// The next timers of one key group with the lengths of their record keys.
#[derive(Debug)]
pub(super) struct Head {
    timers: BTreeMap<TimerKey, u32>,
    /// Due, handed out, and still in state; above the floor or not.
    taken: HashSet<TimerKey>,
    floor: Floor,
    refill: Option<Refill>,
    /// The moment under which the queue has listed it.
    pub(super) listed: Option<Timestamp>,
}

/// A page is being read from the floor on.
#[derive(Debug)]
struct Refill {
    /// What was registered (with the length of its record key) or deleted above the floor since.
    changes: BTreeMap<TimerKey, Option<u32>>,
    /// How far that is complete.
    tracked: Floor,
    /// The floor has gone down since, so the page begins too late.
    is_void: bool,
}

impl Head {
    /// Of a key group that has no timers, or of one of which nothing is known.
    pub(super) fn new(floor: Floor) -> Self {
        Self { timers: BTreeMap::new(), taken: HashSet::default(), floor, refill: None, listed: None }
    }

    /// Timers that are kept in memory, for whatever reason.
    pub(super) fn len(&self) -> usize {
        let changes = self.refill.as_ref().map_or(0, |refill| refill.changes.len());
        self.timers.len() + self.taken.len() + changes
    }

    /// A timer was registered. One that is taken is about to run, which is what was asked for.
    pub(super) fn register(&mut self, timer: &[u8], key_len: u32, limits: TimerLimits) {
        if self.is_taken(timer) {
            return;
        }
        if !self.floor.covers(timer) {
            return self.change(timer, Some(key_len), limits);
        }
        self.timers.insert(TimerKey::new(timer), key_len);
        self.trim(limits);
    }

    /// Gives up the last timers of a head that is too full.
    fn trim(&mut self, limits: TimerLimits) {
        if self.timers.len() <= limits.head {
            return;
        }
        while self.timers.len() > limits.head {
            self.timers.pop_last();
        }
        let last = self.timers.last_key_value();
        self.floor = last.map_or(Floor::Bottom, |(last, _)| Floor::At(last.clone()));
        if let Some(refill) = &mut self.refill {
            refill.is_void = true;
            refill.changes.clear();
        }
    }

    /// A timer was deleted, or has left state because it runs.
    pub(super) fn delete(&mut self, timer: &[u8], limits: TimerLimits) {
        self.taken.remove(timer);
        self.timers.remove(timer);
        if !self.floor.covers(timer) {
            self.change(timer, None, limits);
        }
    }

    /// Whether a timer is taken.
    pub(super) fn is_taken(&self, timer: &[u8]) -> bool {
        !self.taken.is_empty() && self.taken.contains(timer)
    }

    fn change(&mut self, timer: &[u8], key_len: Option<u32>, limits: TimerLimits) {
        let Some(refill) = self.refill.as_mut().filter(|refill| !refill.is_void) else { return };
        if !refill.tracked.covers(timer) {
            return;
        }
        refill.changes.insert(TimerKey::new(timer), key_len);
        if refill.changes.len() > limits.head {
            refill.changes.pop_last();
            let last = refill.changes.last_key_value();
            refill.tracked = last.map_or(Floor::Bottom, |(last, _)| Floor::At(last.clone()));
        }
    }

    /// The first timer's moment, or one that no timer of the key group is before; `None` if there is none.
    pub(super) fn not_before(&self) -> Option<Timestamp> {
        match (self.timers.first_key_value(), &self.floor) {
            (Some((first, _)), _) => Some(first.time()),
            (None, Floor::Bottom) => Some(Timestamp::MIN),
            (None, Floor::At(floor)) => Some(floor.time()),
            (None, Floor::Top) => None,
        }
    }

    /// Takes the first timer if it is due.
    pub(super) fn take(&mut self, until: Timestamp) -> Option<(TimerKey, u32)> {
        let first = self.timers.first_entry().filter(|first| first.key().time() <= until)?;
        let (timer, key_len) = first.remove_entry();
        self.taken.insert(timer.clone());
        Some((timer, key_len))
    }

    /// Whether timers that may be due are not known, and nobody reads them yet.
    pub(super) fn wants_page(&self, until: Timestamp, limits: TimerLimits) -> bool {
        let above = match &self.floor {
            Floor::Bottom => true,
            Floor::At(floor) => floor.time() <= until,
            Floor::Top => false,
        };
        // Half a page early: the rest fires while the next one is on its way.
        above && self.refill.is_none() && self.timers.len() <= limits.page as usize / 2
    }

    /// Whether nothing is known before a page has been read.
    pub(super) fn waits(&self) -> bool {
        self.timers.is_empty() && self.refill.is_some()
    }

    /// A page is asked for; returns the timer behind which it begins.
    pub(super) fn ask(&mut self) -> Option<&TimerKey> {
        self.refill = Some(Refill { changes: BTreeMap::new(), tracked: Floor::Top, is_void: false });
        match &self.floor {
            Floor::At(floor) => Some(floor),
            Floor::Bottom | Floor::Top => None,
        }
    }

    /// The page is there.
    pub(super) fn answer(&mut self, page: Vec<(TimerKey, u32)>, more: bool, limits: TimerLimits) {
        let Some(refill) = self.refill.take().filter(|refill| !refill.is_void) else { return };
        let shown = match page.last() {
            Some((last, _)) if more => Floor::At(last.clone()),
            _ => Floor::Top,
        };
        let floor = shown.min(refill.tracked);
        let unchanged = page.into_iter().filter(|(timer, _)| !refill.changes.contains_key(timer));
        let is_new = |timer: &TimerKey| floor.covers(timer.as_bytes()) && !self.taken.contains(timer);
        self.timers.extend(unchanged.filter(|(timer, _)| is_new(timer)));
        let changes = refill.changes.iter().filter(|(timer, _)| floor.covers(timer.as_bytes()));
        let changes = changes.map(|(timer, key_len)| (timer.clone(), *key_len));
        self.timers.extend(changes.filter_map(|(timer, key_len)| Some((timer, key_len?))));
        self.floor = floor;
        self.trim(limits);
    }
}
