//! Reads for a warm-up: nobody waits for them, so they are large and few, and give way.
//!
//! **Failure**: blocks that cannot be read are left out. Whoever needs them will ask, and be told why.
use std::sync::{Arc, Mutex, PoisonError};

use alluvium_env::Result;

use super::ranges::Wanted;
use super::{Fetched, FetchedPart, Fetcher};
use crate::block::Block;
use crate::hint::HotRun;
use crate::table::{TableFile, Tail};

/// A gap that costs about what a request does: some tens of kilobytes arrive in the time of one, and not one is waited for. So it
/// is so many times what a read would bridge that somebody waits for.
const GAPS: u64 = 4;

impl Fetcher {
    /// Reads what a reference sees of these blocks; those that came, by their numbers.
    ///
    /// # Errors
    /// What reading the table's tail fails with.
    pub(crate) async fn warm(&self, file: &Arc<TableFile>, runs: &[HotRun]) -> Result<Vec<(u32, Block)>> {
        let tail = self.whole_tail(file).await?;
        let (index, keys) = (&tail.index, file.keys());
        let last = if keys.end.is_empty() { index.blocks() } else { index.block_of(&keys.end) + 1 };
        let seen = index.block_of(&keys.start)..last.min(index.blocks());
        let numbers = runs.iter().flat_map(|run| {
            let (start, end) = (run.first as usize, run.end() as usize);
            start.max(seen.start)..end.min(seen.end)
        });
        let located = numbers.filter_map(|number| Some((number, index.range(number)?)));
        let wanted = located.map(|(number, range)| Wanted { block: number as u32, range }).collect();
        let came: Mutex<Vec<FetchedPart>> = Mutex::default();
        let done = |fetched: Fetched| {
            came.lock().unwrap_or_else(PoisonError::into_inner).extend(fetched.parts);
        };
        let given = Tail::Whole(Arc::clone(&tail));
        self.read_wanted((file, Some(&given)), wanted, self.coalesce_gap_bytes * GAPS, &done).await;
        let came = came.into_inner().unwrap_or_else(PoisonError::into_inner);
        let block = |part| match part {
            FetchedPart::Block(number, Ok(block)) => Some((number, block)),
            FetchedPart::Block(_, Err(_)) | FetchedPart::Index(..) | FetchedPart::Tail(_) => None,
        };
        Ok(came.into_iter().filter_map(block).collect())
    }

    /// Whether those who wait have much under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.requests.is_busy()
    }
}
