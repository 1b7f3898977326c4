//! Which tails of live tables are whole in memory: all of them while they take less than their share, else the others are slim.
//!
//! What is given up first is what is missed least. The bottom level has nearly all keys, so most of what is asked of it is there
//! and its filters deny little; where they do deny much, its indexes go before them. Then come indexes and filters of what is
//! above it, a tenth of all, whose filters spare each read a request a level.
//!
//! **Invariants**: a tail that has been made slim stays so until its table is rewritten, and one that a pass reads where there is no
//! room is kept slim at once. A read that has waited for a whole tail goes on with that.
use std::sync::Arc;

use alluvium_env::HashMap;

use super::Store;
use crate::table::{FileId, TableFile, Tail};

/// Above this part of what blocks and tails share tails are made slim, until they take that part.
const MOST: (usize, usize) = (1, 2);
const LEFT: (usize, usize) = (3, 8);

fn part((of, whole): (usize, usize), bytes: usize) -> usize {
    bytes / whole * of
}

/// What is given up of a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Index,
    Filter,
    Both,
}

impl Step {
    /// What is left of a tail; `None` if it has nothing of that to give.
    fn apply(self, tail: &Tail) -> Option<Tail> {
        match (self, tail) {
            (Self::Index, Tail::Whole(tail)) => Tail::slim(tail, true),
            (Self::Both, Tail::Whole(tail)) => Tail::slim(tail, false),
            (Self::Filter | Self::Both, Tail::Slim(tail)) if tail.filter.is_some() => {
                Some(Tail::Slim(Arc::new(tail.without_filter())))
            }
            _ => None,
        }
    }
}

impl Store {
    /// Gives the blocks what the tails of live tables leave of the budget, and makes tails slim that leave too little.
    pub(super) fn account_tails(&mut self) {
        let (mut tails, mut stored): (HashMap<FileId, usize>, _) = (HashMap::default(), 0);
        for (_, file) in self.version.files() {
            // Parts of a table have one tail.
            if tails.insert(file.id, file.resident_tail_bytes().unwrap_or(0)).is_none() {
                stored += file.meta.tail_bytes;
            }
        }
        let resident_bytes = self.budget.resident_bytes;
        self.fetcher.keep_tails_slim(stored > part(MOST, resident_bytes) as u64);
        let mut bytes = tails.values().sum();
        if bytes > part(MOST, resident_bytes) {
            bytes = self.make_slim(bytes, part(LEFT, resident_bytes));
        }
        self.cache.make_room(bytes);
    }

    /// Makes tails slim until they take no more than `most` bytes; returns what they take then.
    fn make_slim(&mut self, mut bytes: usize, most: usize) -> usize {
        let at_bottom = if self.counters.bottom_has_all() { Step::Both } else { Step::Index };
        let steps = [(true, at_bottom), (true, Step::Filter), (false, Step::Index), (false, Step::Filter)];
        let mut slim = HashMap::default();
        for (bottom, step) in steps {
            if bytes > most {
                bytes = self.give_up(bottom, step, (bytes, most), &mut slim);
            }
        }
        if !slim.is_empty() {
            self.version = Arc::new(self.version.with_tails(&slim));
        }
        bytes
    }

    /// Takes one step with the tables of the bottom run, or with the others, in the order of their keys, from where it was left.
    fn give_up(
        &mut self,
        bottom: bool,
        step: Step,
        (mut bytes, most): (usize, usize),
        slim: &mut HashMap<FileId, Tail>,
    ) -> usize {
        let bottom_run = self.version.bottom();
        let is_bottom = |run| bottom_run.is_some_and(|bottom| std::ptr::eq(bottom, run));
        let runs = self.version.runs().filter(|run| is_bottom(*run) == bottom);
        let mut files: Vec<&Arc<TableFile>> = runs.flatten().collect();
        files.sort_by(|a, b| a.keys().start.cmp(&b.keys().start));
        let next = files.partition_point(|file| file.keys().start <= self.tails_hand);
        files.rotate_left(next);
        let mut hand = None;
        for file in files {
            if bytes <= most {
                break;
            }
            let slimmer = slim.get(&file.id).or(file.tail()).and_then(|tail| {
                let slimmer = step.apply(tail)?;
                bytes = (bytes + slimmer.size_bytes()).saturating_sub(tail.size_bytes());
                Some(slimmer)
            });
            let Some(slimmer) = slimmer else { continue };
            if self.fetcher.has_disk() {
                // Its copy there is read by them.
                file.offsets();
            }
            slim.insert(file.id, slimmer);
            hand = Some(file.keys().start.clone());
        }
        if let Some(hand) = hand {
            self.tails_hand = hand;
        }
        bytes
    }
}
