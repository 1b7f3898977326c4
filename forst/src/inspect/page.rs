//! Checks a page of a manifest.
use alluvium_env::Result;

use super::object::ReadAt;
use super::report::Report;
use crate::store::PageContent;

/// Checks every byte of a page, which is read whole: it has up to a few hundred tables.
///
/// # Errors
/// What reading the object fails with. What is wrong with its bytes is in the report.
pub fn verify_page(object: &dyn ReadAt, progress: &mut dyn FnMut(u64)) -> Result<Report<()>> {
    let mut report = Report::default();
    let size = object.size_bytes();
    let bytes = object.read(0..size)?;
    progress(size);
    if let Err(error) = PageContent::decode(&bytes) {
        report.find(0, "the page", "a page of a manifest", error.to_string());
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_sound_page_is_sound_and_every_flipped_bit_and_every_cut_is_found() {
        let sound = PageContent::default().encode();
        let found = |object: Bytes| verify_page(&object, &mut |_| ()).unwrap().findings.len();
        assert_eq!(found(sound.clone()), 0);
        for at in 0..sound.len() {
            assert_eq!(found(sound.slice(..at)), 1, "cut at {at}");
            for bit in 0..8 {
                let mut broken = sound.to_vec();
                broken[at] ^= 1 << bit;
                assert_eq!(found(broken.into()), 1, "bit {bit} of byte {at}");
            }
        }
    }
}
