//! Where the blocks of one table are in the cache: in a row where many are there, else by number, so that it takes no more than in
//! proportion to what is held, however large the table is.
use alluvium_env::HashMap;

/// A place without a block.
pub(super) const NOWHERE: u32 = 0;

/// Places lie in a row while at least one in so many of it is taken: where they are, a look-up takes no hash, and where they are not
/// the other form is smaller.
const DENSE: usize = 4;
/// A row stays until less than one in so many is.
const SPARSE: usize = 16;
/// What a number and its place take in a map that is as full as maps are.
const MAPPED_BYTES: usize = 14;

/// The places of a table by the numbers of its blocks.
#[derive(Debug, Default)]
pub(super) struct Places {
    form: Form,
    /// How many are not [`NOWHERE`].
    taken: usize,
    /// One more than the largest number that was ever taken.
    end: usize,
}

#[derive(Debug)]
enum Form {
    Row(Vec<u32>),
    Map(HashMap<u32, u32>),
}

impl Default for Form {
    fn default() -> Self {
        Self::Map(HashMap::default())
    }
}

impl Places {
    #[inline]
    pub(super) fn get(&self, number: u32) -> u32 {
        let place = match &self.form {
            Form::Row(row) => row.get(number as usize),
            Form::Map(map) => map.get(&number),
        };
        place.copied().unwrap_or(NOWHERE)
    }

    /// One more than the largest number that was ever taken.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Takes a place, or gives it up; returns what was there.
    pub(super) fn set(&mut self, number: u32, place: u32) -> u32 {
        self.end = self.end.max(number as usize + 1);
        let before = match &mut self.form {
            Form::Row(row) => {
                if row.len() <= number as usize {
                    row.resize(number as usize + 1, NOWHERE);
                }
                row.get_mut(number as usize).map(|known| std::mem::replace(known, place))
            }
            Form::Map(map) if place == NOWHERE => map.remove(&number),
            Form::Map(map) => map.insert(number, place),
        };
        let before = before.unwrap_or(NOWHERE);
        self.taken = self.taken + usize::from(place != NOWHERE) - usize::from(before != NOWHERE);
        self.change_form();
        before
    }

    fn change_form(&mut self) {
        match &self.form {
            Form::Map(_) if self.taken * DENSE >= self.end => {
                let mut row = vec![NOWHERE; self.end];
                for (number, place) in self.iter() {
                    if let Some(known) = row.get_mut(number as usize) {
                        *known = place;
                    }
                }
                self.form = Form::Row(row);
            }
            Form::Row(_) if self.taken * SPARSE < self.end => {
                self.form = Form::Map(self.iter().collect());
            }
            Form::Map(map) if map.capacity() > 4 * map.len() + 64 => {
                self.form = Form::Map(self.iter().collect());
            }
            _ => {}
        }
    }

    /// All that are taken.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let (row, map) = match &self.form {
            Form::Row(row) => (Some(row), None),
            Form::Map(map) => (None, Some(map)),
        };
        let row = row.into_iter().flatten().zip(0_u32..).map(|(place, number)| (number, *place));
        let mapped = map.into_iter().flatten().map(|(number, place)| (*number, *place));
        row.filter(|(_, place)| *place != NOWHERE).chain(mapped)
    }

    /// Memory it takes.
    pub(super) fn size_bytes(&self) -> usize {
        match &self.form {
            Form::Row(row) => row.capacity() * size_of::<u32>(),
            Form::Map(map) => map.capacity() * MAPPED_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_either_form_and_take_memory_for_what_is_taken() {
        let (mut places, blocks) = (Places::default(), 100_000_u32);
        for number in (0..blocks).step_by(100) {
            assert_eq!(places.set(number, number + 1), NOWHERE);
        }
        assert!(places.size_bytes() < 1000 * 40, "{} bytes for 1000 blocks", places.size_bytes());
        for number in 0..blocks {
            places.set(number, number + 1);
        }
        assert!(matches!(places.form, Form::Row(_)), "all of them are there");
        assert_eq!(places.iter().count(), blocks as usize);
        for number in 0..blocks {
            assert_eq!(places.get(number), number + 1);
            if number % 100 != 7 {
                assert_eq!(places.set(number, NOWHERE), number + 1);
            }
        }
        let left: Vec<_> = (7..blocks).step_by(100).map(|number| (number, number + 1)).collect();
        let mut found: Vec<_> = places.iter().collect();
        found.sort_unstable();
        assert_eq!((found, places.end()), (left, blocks as usize));
        assert!(places.size_bytes() < 1000 * 80, "{} bytes for 1000 blocks", places.size_bytes());
        assert_eq!((places.get(blocks), places.get(8)), (NOWHERE, NOWHERE));
    }
}
