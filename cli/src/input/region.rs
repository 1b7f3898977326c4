//! Where a split really begins and ends: at the first white space after its nominal offsets.
//!
//! **Invariants**: the boundary is a function of the file and the offset alone, so a split's end is its neighbour's
//! start whoever opens it, and the regions of a file partition its bytes.
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom};
use std::path::Path;

use alluvium_env::{Error, Result};

/// White space is searched this far; text without any is cut between two characters.
const SEARCH_BYTES: u64 = 1 << 20;

/// The nominal offsets of a split in a file of a known size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) file_size: u64,
}

impl Region {
    /// Opens the file where the split begins, or continues; gives the offsets of there and of its end.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be read, `Invalid` if it has become shorter.
    pub(super) fn open(self, path: &Path, position: u64) -> Result<(File, u64, u64)> {
        let broken =
            |e: std::io::Error| Error::unavailable(format!("cannot read {}", path.display())).with_source(e);
        let mut file = File::open(path).map_err(broken)?;
        let size = file.metadata().map_err(broken)?.len();
        if size < self.file_size {
            return Err(shrunk(&path.display().to_string()));
        }
        let end = self.boundary(&mut file, self.end).map_err(broken)?;
        let from = match position {
            0 => self.boundary(&mut file, self.start).map_err(broken)?,
            position => self.start + position,
        };
        let from = from.min(end);
        file.seek(SeekFrom::Start(from)).map_err(broken)?;
        Ok((file, from, end))
    }

    /// The first offset from `nominal` on at which text may be cut.
    fn boundary(self, file: &mut File, nominal: u64) -> std::io::Result<u64> {
        if nominal == 0 || nominal >= self.file_size {
            return Ok(nominal.min(self.file_size));
        }
        // The byte before belongs to the search: if it is white space, the cut is at `nominal` itself.
        let mut at = nominal - 1;
        file.seek(SeekFrom::Start(at))?;
        let mut between_characters = None;
        let mut block = [0_u8; 8 << 10];
        let limit = self.file_size.min(nominal + SEARCH_BYTES);
        while at < limit {
            let read = match file.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == IoKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let bytes = block.get(..read).unwrap_or_default();
            if let Some(space) = bytes.iter().position(u8::is_ascii_whitespace) {
                return Ok((at + space as u64 + 1).min(self.file_size));
            }
            let skip = usize::from(at < nominal);
            let first = bytes.iter().skip(skip).position(|byte| !is_continuation(*byte));
            between_characters = between_characters.or(first.map(|i| at + (skip + i) as u64));
            at += read as u64;
        }
        Ok(if limit == self.file_size { limit } else { between_characters.unwrap_or(nominal) })
    }
}

/// Whether a byte continues a UTF-8 character.
pub(super) fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// What to say when a file ends before it did at the start.
pub(super) fn shrunk(name: &str) -> Error {
    Error::invalid(format!("{name} became shorter while it was read; put the whole file back and run again"))
}
