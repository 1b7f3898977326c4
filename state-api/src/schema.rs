//! Schema evolution: which codec wrote a state's values, and whether the one it is opened with reads them.
//!
//! A checkpoint keeps the codec's id and every version that may have written what the state holds. Opening it with a newer
//! version changes nothing that is stored: old values are read as they are met, and written in the new version when they
//! are written anyway. So a state may hold values of several versions at a time, and a codec that says it reads an older one
//! must tell the two apart by their bytes.
//!
//! **Failure**: a codec that does not read what is stored is `Invalid` at registration, before any value is met.
use alluvium_env::{Error, Result};

use crate::codec::joined_id;
use crate::{Codec, KeyCodec};

/// The codec that a state is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// [`Codec::ID`], for states with user keys or namespaces with the ids of those; empty if one of them has none.
    pub codec: &'static str,
    /// [`Codec::VERSION`].
    pub version: u32,
    reads: fn(u32) -> bool,
}

impl Schema {
    /// Of a codec.
    pub fn of<T: Codec>() -> Self {
        Self { codec: T::ID, version: T::VERSION, reads: T::reads }
    }

    /// Of the values of a state in namespaces.
    pub fn in_namespaces<T: Codec, N: KeyCodec + ?Sized>() -> Self {
        let codec = if is_none::<N>() { T::ID } else { joined_id!(T::ID, " in ", N::KEY_ID) };
        Self { codec, ..Self::of::<T>() }
    }

    /// Of the values of a map, in namespaces or not.
    pub fn by_user_key<V: Codec, K: KeyCodec + ?Sized, N: KeyCodec + ?Sized>() -> Self {
        let codec = if is_none::<N>() {
            joined_id!(V::ID, " by ", K::KEY_ID)
        } else {
            joined_id!(V::ID, " by ", K::KEY_ID, " in ", N::KEY_ID)
        };
        Self { codec, ..Self::of::<V>() }
    }
}

/// Whether there are no namespaces.
fn is_none<N: KeyCodec + ?Sized>() -> bool {
    N::KEY_ID == <() as KeyCodec>::KEY_ID
}

/// What a checkpoint says of a state's values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSchema {
    /// The codec's id; empty if none was given.
    pub codec: String,
    /// Versions that may have written them, ascending.
    pub versions: Vec<u32>,
}

impl StoredSchema {
    /// Takes over what another part of a checkpoint says of the same state.
    ///
    /// # Errors
    /// `Corruption` if that names another codec.
    pub(crate) fn join(&mut self, state: &str, other: &Self) -> Result<()> {
        if self.codec.is_empty() {
            self.codec.clone_from(&other.codec);
        } else if !other.codec.is_empty() && self.codec != other.codec {
            return Err(Error::corruption(format!(
                "state {state} has codec {} in one part of the checkpoint and {} in another",
                self.codec, other.codec
            )));
        }
        other.versions.iter().for_each(|version| self.add(*version));
        Ok(())
    }

    /// Why it cannot be opened with a codec; `None` if it can.
    pub(crate) fn difference(&self, state: &str, schema: &Schema) -> Option<String> {
        if !self.codec.is_empty() && self.codec != schema.codec {
            let opened = if schema.codec.is_empty() { "one without an id" } else { schema.codec };
            return Some(format!(
                "state {state} was written by codec {} and cannot be opened with {opened}",
                self.codec
            ));
        }
        let unread = self.versions.iter().find(|version| !(schema.reads)(**version))?;
        Some(format!(
            "state {state} holds values of version {unread} of codec {}, which its version {} does not read",
            self.codec, schema.version
        ))
    }

    /// Opens it with a codec, whose version may write from now on.
    ///
    /// # Errors
    /// `Invalid` if the codec is another one or does not read a version that is stored.
    pub(crate) fn open(&mut self, state: &str, schema: &Schema) -> Result<()> {
        if let Some(difference) = self.difference(state, schema) {
            return Err(Error::invalid(format!(
                "{difference}: open it with a codec that reads it, or give the new state a name of its own"
            )));
        }
        if !schema.codec.is_empty() {
            schema.codec.clone_into(&mut self.codec);
            self.add(schema.version);
        }
        Ok(())
    }

    fn add(&mut self, version: u32) {
        if let Err(place) = self.versions.binary_search(&version) {
            self.versions.insert(place, version);
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    fn stored(codec: &str, versions: &[u32]) -> StoredSchema {
        StoredSchema { codec: codec.to_owned(), versions: versions.to_vec() }
    }

    fn schema(codec: &'static str, version: u32, reads: fn(u32) -> bool) -> Schema {
        Schema { codec, version, reads }
    }

    #[test]
    fn a_version_is_read_if_its_successor_says_so_and_both_are_remembered() {
        let mut of = stored("order", &[1]);
        of.open("orders", &schema("order", 2, |version| version <= 2)).unwrap();
        assert_eq!(of, stored("order", &[1, 2]));
        // Values of version 1 may still be there, so what reads only 2 and 3 does not do.
        let late = of.open("orders", &schema("order", 3, |version| version >= 2)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Invalid);
        assert!(late.to_string().contains("orders") && late.to_string().contains("version 1"), "{late}");
        // Neither does the old codec.
        assert!(of.open("orders", &schema("order", 1, |version| version == 1)).is_err());
        assert_eq!(of, stored("order", &[1, 2]), "what was refused has changed nothing");
    }

    #[test]
    fn another_codec_is_refused_and_a_state_without_one_takes_any() {
        for other in ["", "invoice"] {
            let refused = stored("order", &[1]).open("orders", &schema(other, 1, |_| true)).unwrap_err();
            assert!(
                refused.kind() == ErrorKind::Invalid && refused.to_string().contains("order"),
                "{refused}"
            );
        }
        let mut unnamed = StoredSchema::default();
        unnamed.open("orders", &schema("", 1, |version| version == 1)).unwrap();
        assert_eq!(unnamed, StoredSchema::default());
        unnamed.open("orders", &schema("order", 4, |version| version == 4)).unwrap();
        assert_eq!(unnamed, stored("order", &[4]));
    }

    #[test]
    fn parts_of_a_checkpoint_are_joined() {
        let mut of = stored("order", &[1, 3]);
        of.join("orders", &stored("order", &[2, 3])).unwrap();
        of.join("orders", &StoredSchema::default()).unwrap();
        assert_eq!(of, stored("order", &[1, 2, 3]));
        assert_eq!(of.join("orders", &stored("invoice", &[1])).unwrap_err().kind(), ErrorKind::Corruption);
    }
}
