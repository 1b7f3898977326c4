//! What the simulated job counts: records of a few partitions, one counter a key group, so that any cut through the
//! partitions has one right answer.
use bytes::Bytes;

/// Partitions of the input.
pub(crate) const PARTITIONS: usize = 3;
/// Key groups; each has one key.
pub(crate) const GROUPS: u16 = 16;
/// The name of the job.
pub(crate) const JOB: &str = "sim";
/// The name of the backend.
pub(crate) const BACKEND: &str = "model";

/// How many records of each key group.
pub(crate) type Counts = [u64; GROUPS as usize];
/// How far each partition has been read.
pub(crate) type Positions = [u64; PARTITIONS];

/// The key group of a record.
pub(crate) fn group_of(partition: usize, index: u64) -> u16 {
    let mixed = (partition as u64 + 1).wrapping_mul(0x9E37_79B9) ^ index.wrapping_mul(0x85EB_CA6B);
    ((mixed >> 7) % u64::from(GROUPS)) as u16
}

/// What has been counted when the partitions have been read up to here.
pub(crate) fn counts_at(positions: &Positions) -> Counts {
    let mut counts = Counts::default();
    for (partition, position) in positions.iter().enumerate() {
        for index in 0..*position {
            add(&mut counts, group_of(partition, index), 1);
        }
    }
    counts
}

/// Adds to a group; one that does not exist is nobody's.
pub(crate) fn add(counts: &mut Counts, group: u16, more: u64) {
    if let Some(count) = counts.get_mut(usize::from(group)) {
        *count += more;
    }
}

/// Numbers as bytes.
pub(crate) fn encode(numbers: impl IntoIterator<Item = u64>) -> Bytes {
    numbers.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>().into()
}

/// Bytes as numbers; what is left over at the end is dropped.
pub(crate) fn decode(bytes: &[u8]) -> Vec<u64> {
    let (numbers, _) = bytes.as_chunks::<8>();
    numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()
}
