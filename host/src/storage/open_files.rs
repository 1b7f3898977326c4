//! Files that are kept open between reads: a bounded map with second chances (CLOCK).
//!
//! **Invariants**: once [`OpenFiles::forget`] has returned, nobody is handed the file that had the name before.
//!
//! **Threads**: shared; a lock is held for a look-up, never while a file is opened.
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alluvium_env::HashMap;
use object_store::path::Path;

/// A process may have 1024 files open unless its owner allowed more.
const MAX_OPEN: usize = 512;

struct OpenFile {
    file: Arc<File>,
    used: bool,
}

#[derive(Default)]
struct Files {
    by_name: HashMap<Path, OpenFile>,
    clock: VecDeque<Path>,
    /// Changes when a name is forgotten, so that whoever was opening a file meanwhile does not keep the old one.
    era: u64,
}

/// The files of one folder that are open.
#[derive(Default)]
pub(super) struct OpenFiles {
    files: Mutex<Files>,
}

impl OpenFiles {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file of a name, or the era in which to [`OpenFiles::keep`] it.
    pub(super) fn get(&self, name: &Path) -> Result<Arc<File>, u64> {
        let mut files = self.lock();
        let era = files.era;
        let open = files.by_name.get_mut(name).ok_or(era)?;
        open.used = true;
        Ok(Arc::clone(&open.file))
    }

    /// Keeps a file that was opened since `era`, unless names were forgotten meanwhile.
    pub(super) fn keep(&self, era: u64, name: &Path, file: &Arc<File>) {
        let mut files = self.lock();
        if files.era != era || files.by_name.contains_key(name) {
            return;
        }
        let closed = files.make_room();
        files.by_name.insert(name.clone(), OpenFile { file: Arc::clone(file), used: false });
        files.clock.push_back(name.clone());
        drop(files);
        // Closing may be a call to a server: not under the lock.
        drop(closed);
    }

    /// Closes the file of a name whose object is gone or another.
    pub(super) fn forget(&self, name: &Path) {
        let mut files = self.lock();
        files.era += 1;
        let closed = files.by_name.remove(name);
        drop(files);
        drop(closed);
    }
}

impl Files {
    /// Takes out what must be closed before another file is kept.
    fn make_room(&mut self) -> Vec<Arc<File>> {
        let mut closed = Vec::new();
        // Names that were forgotten are still on the clock; they go as their turn comes.
        while self.clock.len() >= MAX_OPEN
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

impl fmt::Debug for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFiles({})", self.lock().by_name.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(files: &OpenFiles, name: &str) -> Path {
        let path = Path::from(name);
        let era = files.get(&path).unwrap_err();
        files.keep(era, &path, &Arc::new(tempfile::tempfile().unwrap()));
        path
    }

    #[test]
    fn no_more_files_stay_open_than_allowed_and_used_ones_stay_longest() {
        let files = OpenFiles::default();
        let favourite = opened(&files, "favourite");
        for number in 0..2 * MAX_OPEN {
            assert!(files.get(&favourite).is_ok(), "closed after {number} others");
            opened(&files, &number.to_string());
            assert!(files.lock().by_name.len() <= MAX_OPEN);
        }
    }

    #[test]
    fn a_file_that_was_opened_before_its_name_was_forgotten_is_not_kept() {
        let files = OpenFiles::default();
        let path = Path::from("a");
        let era = files.get(&path).unwrap_err();
        files.forget(&path);
        files.keep(era, &path, &Arc::new(tempfile::tempfile().unwrap()));
        assert!(files.get(&path).is_err());
        let path = opened(&files, "a");
        files.forget(&path);
        assert!(files.get(&path).is_err());
    }
}
