//! Maps in mode sync: how one is loaded, and the way through its pages.
use alluvium_env::{Error, Result};
use alluvium_state_api::{DEFAULT_PAGE_ENTRIES, Page, PageRequest};

use super::oracle::Oracle;

/// Bytes of a map's user key: the number of its entry.
pub(super) const USER_KEY_BYTES: usize = 8;

/// A pass over one map, which goes on page by page.
#[derive(Debug, Default)]
pub(super) struct MapWalk {
    /// The state key that all entries begin with.
    prefix: Vec<u8>,
    last: Vec<u8>,
    seen: u64,
}

impl MapWalk {
    /// Begins at the first entry below `prefix`.
    pub(super) fn begin(&mut self, prefix: &[u8]) {
        self.prefix.clear();
        self.prefix.extend_from_slice(prefix);
        self.last.clear();
        self.seen = 0;
    }

    /// The page to ask for.
    pub(super) fn request(&self) -> PageRequest<'_> {
        let after = (!self.last.is_empty()).then_some(self.last.as_slice());
        PageRequest { prefix: &self.prefix, after, limit: DEFAULT_PAGE_ENTRIES }
    }

    /// Looks at the entries of a page of map `index`; `false` if it was the last one.
    ///
    /// # Errors
    /// `Corruption` if an entry is missing, too many, or wrong.
    pub(super) fn take(&mut self, page: &[u8], (index, length): (u64, u64), oracle: &Oracle) -> Result<bool> {
        let mut page = Page::decode(page)?;
        let mut last = None;
        while let Some((key, value)) = page.next_entry()? {
            let number = key.strip_prefix(self.prefix.as_slice()).and_then(|rest| rest.try_into().ok());
            if number.map(u64::from_be_bytes) != Some(self.seen) {
                return Err(wrong(index, &format!("entry {} is not where it must be", self.seen)));
            }
            oracle.check_entry(index, index * length + self.seen, value)?;
            self.seen += 1;
            last = Some(key);
        }
        if let (true, Some(last)) = (page.more(), last) {
            self.last.clear();
            self.last.extend_from_slice(last);
            return Ok(true);
        }
        if self.seen == length {
            return Ok(false);
        }
        Err(wrong(index, &format!("it has {} entries instead of {length}", self.seen)))
    }
}

fn wrong(index: u64, what: &str) -> Error {
    Error::corruption(format!("the store answered wrongly about map {index}: {what}"))
}

#[cfg(test)]
mod tests {
    use alluvium_state_api::PageBuilder;

    use super::*;
    use crate::bench::values::Values;

    fn page(numbers: impl IntoIterator<Item = u64>, more: bool) -> Vec<u8> {
        let (values, mut value) = (Values::new(10, 1), Vec::new());
        let mut page = PageBuilder::new(10);
        for number in numbers {
            values.write(2 * 5 + number, 0, &mut value);
            page.push(&[b"map".as_slice(), &number.to_be_bytes()].concat(), &value);
        }
        page.finish(more)
    }

    #[test]
    fn a_map_is_whole_only_with_every_entry_in_its_place() {
        let oracle = Oracle::new(Values::new(10, 1), 10);
        let mut walk = MapWalk::default();
        let mut pages = |pages: &[Vec<u8>]| {
            walk.begin(b"map");
            pages.iter().map(|page| walk.take(page, (2, 5), &oracle)).collect::<Result<Vec<_>>>()
        };
        assert_eq!(pages(&[page(0..3, true), page(3..5, false)]).unwrap(), [true, false]);
        assert_eq!(pages(&[page(0..5, true), page([], false)]).unwrap(), [true, false]);
        assert!(pages(&[page(0..4, false)]).unwrap_err().to_string().contains("4 entries instead of 5"));
        assert!(pages(&[page([0, 2], true)]).unwrap_err().to_string().contains("entry 1"));
    }
}
