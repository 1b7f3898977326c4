//! Reads of local files on the I/O runtime: what the page cache holds is copied at once, only the rest costs a hop.
//!
//! A hop to a blocking thread and back costs several times what copying a block out of the page cache does, and a
//! thread of the runtime must not wait for a disk. `preadv2` with `RWF_NOWAIT` (Linux 4.14) tells the two apart: it
//! answers from the page cache or not at all. Elsewhere every read takes the hop.
//!
//! **Threads**: called on the I/O runtime, and by task threads that help it; waits on the runtime's blocking threads.
//!
//! **Failure**: a file that ends before a range does is `UnexpectedEof`. After an error nothing of the call is usable.
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;

/// A longer read takes the hop anyway: copying it would hold up the reads behind it.
const MAX_INLINE_BYTES: usize = 64 << 10;
/// Pieces of one call share buffers of this size: it is what an allocator keeps at hand, still warm from the last call.
const BUFFER_BYTES: usize = 32 << 10;

/// Reads ranges of a file, in their order.
///
/// # Errors
/// What the operating system says; `UnexpectedEof` for a range that is not all there.
pub async fn read_ranges(file: &Arc<File>, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
    let mut pieces = Vec::with_capacity(ranges.len());
    let mut waiting = Vec::new();
    let mut left: usize = ranges.iter().map(length).sum();
    let mut buffer = BytesMut::new();
    // Every range is tried before any is waited for: the refused tries have the kernel read ahead, all at once.
    for (number, range) in ranges.iter().enumerate() {
        let bytes = length(range);
        if bytes <= MAX_INLINE_BYTES {
            if buffer.capacity() < bytes {
                buffer = BytesMut::with_capacity(BUFFER_BYTES.min(left).max(bytes));
            }
            buffer.resize(bytes, 0);
            if read_resident(file, &mut buffer, range.start)? {
                pieces.push(buffer.split().freeze());
                left -= bytes;
                continue;
            }
        }
        pieces.push(Bytes::new());
        waiting.push((number, range.clone()));
        left -= bytes;
    }
    if !waiting.is_empty() {
        let file = Arc::clone(file);
        let read = spawn_blocking(move || read_waiting(&file, waiting));
        for (number, bytes) in read.await.map_err(io::Error::other)?? {
            if let Some(piece) = pieces.get_mut(number) {
                *piece = bytes;
            }
        }
    }
    Ok(pieces)
}

fn length(range: &Range<u64>) -> usize {
    range.end.saturating_sub(range.start) as usize
}

/// Fills `bytes` if the page cache can, and says whether it could.
#[cfg(target_os = "linux")]
fn read_resident(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    loop {
        return match preadv2(file, &mut [io::IoSliceMut::new(bytes)], offset, ReadWriteFlags::NOWAIT) {
            // Less than asked for is the end of the file, or of what is resident: the waiting read finds out.
            Ok(read) => Ok(read == bytes.len()),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn read_resident(_: &File, _: &mut [u8], _: u64) -> io::Result<bool> {
    Ok(false)
}

fn read_waiting(file: &File, ranges: Vec<(usize, Range<u64>)>) -> io::Result<Vec<(usize, Bytes)>> {
    let read = |(number, range): (usize, Range<u64>)| {
        let wanted = length(&range);
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let offset = range.start + bytes.len() as u64;
            match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // An allocator may give more room than was asked for.
        bytes.truncate(wanted);
        Ok((number, Bytes::from(bytes)))
    };
    ranges.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::IoRuntime;

    fn file(bytes: &[u8]) -> Arc<File> {
        let path =
            std::env::temp_dir().join(format!("alluvium-files-{}-{}", std::process::id(), bytes.len()));
        File::create(&path).unwrap().write_all(bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Arc::new(file)
    }

    #[test]
    fn ranges_come_in_their_order_however_they_lie_and_however_long_they_are() {
        let content: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        let file = file(&content);
        let ranges = [7..4103, 0..10, 5..5, 100_000..140_000, 1000..200_000, 299_990..300_000, 0..4096];
        let pieces = IoRuntime::new(1).unwrap().block_on(read_ranges(&file, &ranges)).unwrap();
        assert_eq!(pieces.len(), ranges.len());
        for (range, piece) in ranges.iter().zip(&pieces) {
            assert_eq!(piece[..], content[range.start as usize..range.end as usize], "{range:?}");
        }
    }

    #[test]
    fn a_range_past_the_end_of_the_file_is_an_error() {
        let (file, io) = (file(&[1; 5000]), IoRuntime::new(1).unwrap());
        for range in [4000..5001, 6000..6001, 0..100_000] {
            let error = io.block_on(read_ranges(&file, &[0..10, range])).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
