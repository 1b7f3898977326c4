//! Pages: how map entries and ranges are read, a bounded piece at a time (FLIP-424's `StateIterator`).
//!
//! A page is one value: `more:u8 · (key_len:u32le · value_len:u32le · key · value)*`. It crosses from the backend to the
//! reader in the same buffers as every other answer, and nothing is locked or pinned between two pages: the next one
//! begins behind the last key of this one.
use alluvium_env::{Error, Result};

/// Entries a page has unless something else is asked for.
pub const DEFAULT_PAGE_ENTRIES: u32 = 128;

/// Asks for the entries of one prefix, in key order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<'a> {
    /// What the state keys begin with.
    pub prefix: &'a [u8],
    /// The last state key of the page before; `None` begins with the first one.
    pub after: Option<&'a [u8]>,
    /// At most this many entries; at least one is returned while there are any.
    pub limit: u32,
}

/// Entries with their whole state keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    more: bool,
    entries: &'a [u8],
}

impl<'a> Page<'a> {
    /// Reads what [`PageBuilder`] wrote.
    ///
    /// # Errors
    /// `Corruption` if there is nothing at all.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let (more, entries) = bytes.split_first().ok_or_else(|| Error::corruption("a page of no bytes"))?;
        Ok(Self { more: *more != 0, entries })
    }

    /// Whether entries may follow the last one of this page.
    pub fn more(&self) -> bool {
        self.more
    }

    /// The next state key and value, `None` behind the last.
    ///
    /// # Errors
    /// `Corruption` if the page ends within an entry.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<(&'a [u8], &'a [u8])>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let cut = || Error::corruption("a page ends within an entry");
        let (key_len, rest) = self.entries.split_first_chunk::<4>().ok_or_else(cut)?;
        let (value_len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize).ok_or_else(cut)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize).ok_or_else(cut)?;
        self.entries = rest;
        Ok(Some((key, value)))
    }
}

/// A page that is used up over time.
#[derive(Debug, Default)]
pub(crate) struct OpenPage {
    bytes: Vec<u8>,
    /// How many of them are behind.
    used: usize,
    more: bool,
    /// The last entry's state key, once that is behind.
    last: Vec<u8>,
}

impl OpenPage {
    /// # Errors
    /// As [`Page::decode`].
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self> {
        let page = Page::decode(&bytes)?;
        // Without entries it cannot say behind what to go on.
        let more = page.more && !page.entries.is_empty();
        Ok(Self { bytes, used: 1, more, last: Vec::new() })
    }

    /// Whether all entries are behind.
    #[inline]
    pub(crate) fn is_used_up(&self) -> bool {
        self.used >= self.bytes.len()
    }

    /// As [`Page::next_entry`].
    pub(crate) fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let rest = self.bytes.get(self.used..).unwrap_or_default();
        let mut page = Page { more: self.more, entries: rest };
        let entry = page.next_entry()?;
        self.used += rest.len() - page.entries.len();
        if let Some((key, _)) = entry
            && page.entries.is_empty()
        {
            key.clone_into(&mut self.last);
        }
        Ok(entry)
    }

    /// Of a page that is used up, the key behind which the next page begins, if one follows.
    pub(crate) fn go_on_behind(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.more).then(|| std::mem::take(&mut self.last))
    }
}

/// Builds a page.
#[derive(Debug)]
pub struct PageBuilder {
    bytes: Vec<u8>,
    entries: u32,
    limit: u32,
}

impl PageBuilder {
    /// An empty page for a request of this limit.
    pub fn new(limit: u32) -> Self {
        Self { bytes: vec![0], entries: 0, limit: limit.max(1) }
    }

    /// Whether it has all the entries it may have.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.entries >= self.limit
    }

    /// Adds an entry; keys ascend, and are at most 4 GiB like every key and value.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.entries += 1;
    }

    /// The page; `more` says whether entries may follow it.
    pub fn finish(mut self, more: bool) -> Vec<u8> {
        if let Some(first) = self.bytes.first_mut() {
            *first = u8::from(more);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_and_a_cut_is_corruption() {
        let mut builder = PageBuilder::new(2);
        builder.push(b"a", b"1");
        assert!(!builder.is_full());
        builder.push(b"b", b"");
        assert!(builder.is_full());
        let bytes = builder.finish(true);
        let mut page = Page::decode(&bytes).unwrap();
        assert!(page.more());
        assert_eq!(page.next_entry().unwrap(), Some((b"a".as_slice(), b"1".as_slice())));
        assert_eq!(page.next_entry().unwrap(), Some((b"b".as_slice(), b"".as_slice())));
        assert_eq!(page.next_entry().unwrap(), None);
        let mut open = OpenPage::new(bytes.clone()).unwrap();
        assert_eq!(open.next_entry().unwrap(), Some((b"a".as_slice(), b"1".as_slice())));
        assert!(!open.is_used_up());
        assert_eq!(open.next_entry().unwrap(), Some((b"b".as_slice(), b"".as_slice())));
        assert!(open.is_used_up());
        assert_eq!((open.go_on_behind().as_deref(), open.go_on_behind()), (Some(b"b".as_slice()), None));
        let mut cut = Page::decode(&bytes[..bytes.len() - 1]).unwrap();
        cut.next_entry().unwrap();
        assert!(cut.next_entry().is_err());
        assert!(Page::decode(&[]).is_err());
    }
}
