//! What comes out: the most frequent words, the sorted file, the figures.
//!
//! Results are read from one scan a subtask, each in key order, with bounded memory: `k` words for the table, one block
//! a run for the file.
mod sorted;
mod summary;
mod table;
mod top;

use alluvium_env::Result;
use alluvium_state_api::{Codec as _, KeyCodec, KeyGroup, StateScan, state_key};

pub(crate) use sorted::SortedFile;
pub(crate) use summary::{Cache, Checkpoints, LastCheckpoint, Restored, Store, Summary, peak_rss_bytes};
pub(crate) use table::{grouped, per_second, print_figures, print_line, print_table};
use top::TopWords;

/// What the scans held.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How many different words.
    pub(crate) distinct: u64,
    /// The most frequent, most frequent first.
    pub(crate) top: Vec<(String, u64)>,
}

/// Reads all counts, keeps the `top` most frequent, and writes all of them into `output`.
///
/// # Errors
/// What a scan reports; `Unavailable` if the output cannot be written.
pub(crate) fn collect(
    scans: Vec<Box<dyn StateScan>>,
    top: usize,
    mut output: Option<&mut SortedFile>,
) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut best = TopWords::new(top);
    for mut scan in scans {
        let mut run: Option<KeyGroup> = None;
        while let Some((key, value)) = scan.next_entry()? {
            let (group, _, encoded) = state_key::split(key)?;
            let word = <[u8]>::decode_key(encoded)?;
            let count = u64::decode(value)?;
            counts.distinct += 1;
            best.offer(&word, count);
            if let Some(output) = &mut output {
                if run != Some(group) {
                    output.begin_run()?;
                    run = Some(group);
                }
                output.push(&word, count)?;
            }
        }
    }
    counts.top = best.into_sorted();
    Ok(counts)
}

#[cfg(test)]
mod tests;
