//! What the ledger keeps of a canonical part besides its states: its files, and which key groups each has.
use alluvium_env::{Error, Result};
use alluvium_state_api::{CANONICAL, FileRef, KeyGroupRange, RestoredPart, StoredStates};

/// A file of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntriesFile {
    pub(crate) file: FileRef,
    /// Those that its entries are of.
    pub(crate) key_groups: KeyGroupRange,
    pub(crate) entries: u64,
}

/// What a canonical part names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) states: StoredStates,
    /// In the order of their key groups.
    pub(crate) files: Vec<EntriesFile>,
}

impl Payload {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = (self.files.len() as u32).to_le_bytes().to_vec();
        for EntriesFile { file, key_groups, entries } in &self.files {
            rest.extend_from_slice(&(file.name.len() as u32).to_le_bytes());
            rest.extend_from_slice(file.name.as_bytes());
            rest.extend_from_slice(&file.size_bytes.to_le_bytes());
            rest.extend_from_slice(&key_groups.start.to_le_bytes());
            rest.extend_from_slice(&key_groups.end.to_le_bytes());
            rest.extend_from_slice(&entries.to_le_bytes());
        }
        self.states.encode_canonical(&rest)
    }

    /// What a part names.
    pub(crate) fn of(part: &RestoredPart) -> Result<Self> {
        if part.backend != CANONICAL {
            let other = &part.backend;
            return Err(Error::invalid(format!(
                "the checkpoint was written by the {other} backend, and is not canonical"
            )));
        }
        Self::decode(&part.payload)
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self> {
        let (states, mut rest) = StoredStates::decode_canonical(payload)?;
        let mut files = Vec::new();
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let length = u32::from_le_bytes(take(&mut rest)?) as usize;
            let (name, behind) = rest.split_at_checked(length).ok_or_else(too_short)?;
            rest = behind;
            let name = String::from_utf8(name.to_vec())
                .map_err(|e| Error::corruption("the name of a file of entries is no text").with_source(e))?;
            let size_bytes = u64::from_le_bytes(take(&mut rest)?);
            let start = u16::from_le_bytes(take(&mut rest)?);
            let end = u16::from_le_bytes(take(&mut rest)?);
            let entries = u64::from_le_bytes(take(&mut rest)?);
            let file = FileRef { name, size_bytes };
            files.push(EntriesFile { file, key_groups: KeyGroupRange { start, end }, entries });
        }
        if rest.is_empty() { Ok(Self { states, files }) } else { Err(too_short()) }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk().ok_or_else(too_short)?;
    *bytes = tail;
    Ok(*head)
}

fn too_short() -> Error {
    Error::corruption("a canonical part's payload is not as long as it should be")
}
