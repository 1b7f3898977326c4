//! What every verification must find, whatever the object: a bit that flips, and a cut.
use bytes::Bytes;

use super::object::ReadAt;
use super::report::Report;

/// Hands back the report of the sound object.
pub(super) fn assert_found<S>(
    object: &[u8],
    verify: impl Fn(&dyn ReadAt, &mut dyn FnMut(u64)) -> alluvium_env::Result<Report<S>>,
) -> Report<S> {
    let report = |bytes: &[u8]| verify(&Bytes::copy_from_slice(bytes), &mut |_| ()).unwrap();
    let sound = report(object);
    assert_eq!(sound.findings, []);
    for bit in 0..object.len() * 8 {
        let mut broken = object.to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(!report(&broken).is_sound(), "bit {bit} can flip unseen");
    }
    for length in 0..object.len() {
        assert!(!report(&object[..length]).is_sound(), "a cut to {length} bytes goes unseen");
    }
    sound
}
