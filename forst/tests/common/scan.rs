//! Everything in a store.
use alluvium_env::Result;
use alluvium_forst::Store;

/// All entries, in the order of the scan.
///
/// # Errors
/// The scan's.
pub(crate) fn scan_all(store: &mut Store) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (mut scan, mut entries): (_, Vec<(Vec<u8>, Vec<u8>)>) = (store.scan(), Vec::new());
    while let Some((key, value)) = scan.next_entry()? {
        assert!(entries.last().is_none_or(|(last, _)| last.as_slice() < key), "a scan that goes back");
        entries.push((key.to_vec(), value.to_vec()));
    }
    Ok(entries)
}
