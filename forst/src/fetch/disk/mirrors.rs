//! The mirrors of a tier and the order in which they are swept (CLOCK). Plain data: no file is touched here.
use std::collections::VecDeque;
use std::ops::Range;

use alluvium_env::HashMap;

use super::header::Header;
use super::mirror::{Mirror, Swept};
use crate::table::TableFile;

/// All mirrors by the names of their tables.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    by_name: HashMap<String, Mirror>,
    clock: VecDeque<String>,
    disk_bytes: u64,
    next: u64,
}

/// What eviction gives back to the file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// A mirror with its file.
    Whole { number: u64, disk_bytes: u64 },
    /// Parts of one.
    Holes { number: u64, holes: Vec<Range<u64>> },
}

impl Mirrors {
    /// What all mirrors take on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// A number that no file has had.
    pub(super) fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The mirror of exactly these bytes: a table of that name in other state does not count.
    pub(super) fn get(&mut self, file: &TableFile) -> Option<&mut Mirror> {
        self.by_name.get_mut(file.name()).filter(|mirror| mirror.content_hash == file.meta.content_hash)
    }

    /// Takes a mirror in; returns the number of one that it replaces.
    pub(super) fn insert(&mut self, name: &str, mirror: Mirror) -> Option<u64> {
        self.disk_bytes += mirror.disk_bytes;
        self.next = self.next.max(mirror.number);
        if let Some(old) = self.by_name.insert(name.to_owned(), mirror) {
            self.disk_bytes -= old.disk_bytes;
            return Some(old.number);
        }
        self.clock.push_back(name.to_owned());
        None
    }

    /// Takes in a mirror that was found; of two of one table the younger stays. Returns the number that goes.
    pub(super) fn insert_found(&mut self, header: &Header, number: u64, disk_bytes: u64) -> Option<u64> {
        if self.by_name.get(&header.name).is_some_and(|other| other.number > number) {
            return Some(number);
        }
        self.insert(&header.name, Mirror::found(number, header.content_hash, disk_bytes))
    }

    /// Notes what a mirror takes now. It may be gone meanwhile.
    pub(super) fn measured(&mut self, number: u64, name: &str, disk_bytes: u64) {
        if let Some(mirror) = self.by_name.get_mut(name).filter(|mirror| mirror.number == number) {
            self.disk_bytes = self.disk_bytes - mirror.disk_bytes + disk_bytes;
            mirror.disk_bytes = disk_bytes;
        }
    }

    /// Forgets a table's mirror; returns its number.
    pub(super) fn remove(&mut self, name: &str) -> Option<u64> {
        let mirror = self.by_name.remove(name)?;
        self.disk_bytes -= mirror.disk_bytes;
        self.clock.retain(|other| other != name);
        Some(mirror.number)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }

    /// Decides what goes next to free about `enough` bytes; `None` when nothing is left.
    pub(super) fn evict(&mut self, enough: u64) -> Option<(String, Victim)> {
        // After one round nothing counts as used, after a second nothing is left.
        for _ in 0..2 * self.clock.len() {
            let name = self.clock.front()?.clone();
            let Some(mirror) = self.by_name.get_mut(&name) else {
                self.clock.pop_front();
                continue;
            };
            let number = mirror.number;
            match mirror.sweep(enough) {
                Swept::Everything => {
                    let disk_bytes = mirror.disk_bytes;
                    self.remove(&name);
                    return Some((name, Victim::Whole { number, disk_bytes }));
                }
                Swept::Holes { holes, ended } => {
                    if ended {
                        self.clock.rotate_left(1);
                    }
                    if !holes.is_empty() {
                        return Some((name, Victim::Holes { number, holes }));
                    }
                }
            }
        }
        None
    }
}
