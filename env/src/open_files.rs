//! Files that are kept open between reads: a bounded map with second chances (CLOCK).
//!
//! A process may have 1024 files open unless its owner allowed more, and a store can have more tables than that.
//!
//! **Invariants**: once [`OpenFiles::forget`] has returned, nobody is handed the file that had the name before.
//!
//! **Threads**: shared; a lock is held for a look-up, never while a file is opened.
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::HashMap;

struct OpenFile {
    file: Arc<File>,
    used: bool,
}

struct Files<K> {
    by_name: HashMap<K, OpenFile>,
    clock: VecDeque<K>,
    /// Changes when a name is forgotten, so that whoever was opening a file meanwhile does not keep the old one.
    era: u64,
}

/// Open files by their names, whatever a name is.
pub struct OpenFiles<K> {
    max_open: usize,
    files: Mutex<Files<K>>,
}

impl<K: Clone + Eq + Hash> OpenFiles<K> {
    /// Keeps at most `max_open` files.
    pub fn new(max_open: usize) -> Self {
        let files = Files { by_name: HashMap::default(), clock: VecDeque::new(), era: 0 };
        Self { max_open, files: Mutex::new(files) }
    }

    fn lock(&self) -> MutexGuard<'_, Files<K>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file of a name.
    ///
    /// # Errors
    /// It is not open: the era in which to [`OpenFiles::keep`] it.
    pub fn get(&self, name: &K) -> Result<Arc<File>, u64> {
        let mut files = self.lock();
        let era = files.era;
        let open = files.by_name.get_mut(name).ok_or(era)?;
        open.used = true;
        Ok(Arc::clone(&open.file))
    }

    /// Keeps a file that was opened since `era`, unless names were forgotten meanwhile.
    pub fn keep(&self, era: u64, name: &K, file: &Arc<File>) {
        let mut files = self.lock();
        if files.era != era || files.by_name.contains_key(name) {
            return;
        }
        let closed = files.make_room(self.max_open);
        files.by_name.insert(name.clone(), OpenFile { file: Arc::clone(file), used: false });
        files.clock.push_back(name.clone());
        drop(files);
        // Closing may be a call to a server: not under the lock.
        drop(closed);
    }

    /// Closes the file of a name whose object is gone or another.
    pub fn forget(&self, name: &K) {
        let mut files = self.lock();
        files.era += 1;
        let closed = files.by_name.remove(name);
        drop(files);
        drop(closed);
    }
}

impl<K: Clone + Eq + Hash> Files<K> {
    /// Takes out what must be closed before another file is kept.
    fn make_room(&mut self, max_open: usize) -> Vec<Arc<File>> {
        let mut closed = Vec::new();
        // Names that were forgotten are still on the clock; they go as their turn comes.
        while self.clock.len() >= max_open
            && let Some(name) = self.clock.pop_front()
        {
            match self.by_name.get_mut(&name) {
                Some(open) if open.used => {
                    open.used = false;
                    self.clock.push_back(name);
                }
                Some(_) => closed.extend(self.by_name.remove(&name).map(|open| open.file)),
                None => {}
            }
        }
        closed
    }
}

impl<K> fmt::Debug for OpenFiles<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFiles").field("max_open", &self.max_open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_file() -> Arc<File> {
        Arc::new(File::open(std::env::current_exe().unwrap()).unwrap())
    }

    fn opened(files: &OpenFiles<u32>, name: u32) {
        let era = files.get(&name).unwrap_err();
        files.keep(era, &name, &some_file());
    }

    #[test]
    fn no_more_files_stay_open_than_allowed_and_used_ones_stay_longest() {
        let files = OpenFiles::new(8);
        let favourite = 1000;
        opened(&files, favourite);
        for number in 0..20 {
            assert!(files.get(&favourite).is_ok(), "closed after {number} others");
            opened(&files, number);
            assert!(files.lock().by_name.len() <= 8);
        }
    }

    #[test]
    fn a_file_that_was_opened_before_its_name_was_forgotten_is_not_kept() {
        let files = OpenFiles::new(8);
        let era = files.get(&1).unwrap_err();
        files.forget(&1);
        files.keep(era, &1, &some_file());
        assert!(files.get(&1).is_err());
        opened(&files, 1);
        files.forget(&1);
        assert!(files.get(&1).is_err());
    }
}
