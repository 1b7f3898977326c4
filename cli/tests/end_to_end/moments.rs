//! The moment of a kill: a random time, or a step of the checkpoint protocol as it shows on the store, where a claim, a
//! delta, a page, an entry appear and what was dropped goes.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use alluvium_env::{Clock as _, Entropy, SystemClock};

use crate::process::pause;

/// Whoever waits for a step that does not come kills anyway.
const LONGEST: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// When to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// At no step in particular.
    After(Duration),
    /// When so many names have appeared since the job began, and a moment later.
    Appeared(Of, usize, Duration),
    /// When so many have gone.
    Gone(Of, usize, Duration),
}

/// Names that tell of a step: a folder of the state, and how they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Of {
    folder: &'static str,
    end: &'static str,
}

const LEDGER: Of = Of { folder: "ledger", end: "" };
const STATE: Of = Of { folder: "state", end: "" };
const PAGES: Of = Of { folder: "state", end: ".page" };

impl Moment {
    /// One of a job that has pages, or none.
    pub(crate) fn draw(random: &Entropy, paged: bool) -> Self {
        let below = |end: u64| random.next_u64() % end;
        let of = match below(4) {
            0 | 1 if paged => PAGES,
            0 | 2 => LEDGER,
            _ => STATE,
        };
        // Into the step, or right behind it.
        let later = Duration::from_micros(below(2) * below(4_000));
        match below(5) {
            0 => Self::After(Duration::from_millis(20 + below(900))),
            1 | 2 => Self::Appeared(of, 1 + below(6) as usize, later),
            _ => Self::Gone(of, 1 + below(4) as usize, later),
        }
    }

    /// Waits for the moment in a job whose objects lie below `root`. Whether it came: the job may end before.
    pub(crate) fn wait(self, root: &Path, child: &mut Child) -> bool {
        let (of, times, later) = match self {
            Self::After(time) => {
                pause(time);
                return child.try_wait().unwrap().is_none();
            }
            Self::Appeared(of, times, later) | Self::Gone(of, times, later) => (of, times, later),
        };
        let (clock, root) = (SystemClock::new(), root.join(of.folder));
        let names = || {
            let mut names = names(&root);
            names.retain(|name| name.as_os_str().as_encoded_bytes().ends_with(of.end.as_bytes()));
            names
        };
        let (mut before, mut came, mut went) = (names(), 0, 0);
        while clock.monotonic() < LONGEST {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let now = names();
            came += now.difference(&before).count();
            went += before.difference(&now).count();
            before = now;
            if (if matches!(self, Self::Gone(..)) { went } else { came }) >= times {
                break;
            }
            pause(LOOK);
        }
        pause(later);
        child.try_wait().unwrap().is_none()
    }
}

/// How many pages a state has.
pub(crate) fn pages(root: &Path) -> usize {
    let is_page = |name: &&PathBuf| name.extension().is_some_and(|kind| kind == "page");
    names(root).iter().filter(is_page).count()
}

/// The files below a folder, those that are being written included; a folder that is not there has none.
fn names(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}
