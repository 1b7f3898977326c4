//! The bytes of a hint.
//!
//! **Failure**: what does not check out is `Corruption`; whoever reads a hint goes on without it.
use alluvium_env::{Error, Result};

use super::{Heat, HotRun, HotTable};
use crate::coding::{Input, crc32c, put_varint};

/// Begins every hint; the last byte is its version.
const MAGIC: [u8; 8] = *b"ALVMHOT\x01";
/// Bits of a run's first number that say its heat.
const HEAT_BITS: u32 = 2;

/// `magic · tables · table* · crc32c:u32`, the checksum over all before it.
pub(crate) fn encode(tables: &[HotTable]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put_varint(&mut bytes, tables.len() as u64);
    for table in tables {
        bytes.extend_from_slice(&table.content_hash.to_le_bytes());
        put_varint(&mut bytes, table.runs.len() as u64);
        let mut end = 0;
        for run in &table.runs {
            put_varint(&mut bytes, u64::from(run.first - end) << HEAT_BITS | run.heat as u64);
            put_varint(&mut bytes, u64::from(run.blocks - 1));
            end = run.end();
        }
    }
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether bytes begin as those of a hint of any version.
pub(crate) fn is_hint(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC.split_last().map_or(&[][..], |(_, name)| name))
}

/// What a hint says.
///
/// # Errors
/// `Corruption` if it is none, or one of another version.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<HotTable>> {
    let wrong = |what: String| Error::corruption(format!("expected a hotness hint, got {what}"));
    let short = || wrong(format!("{} bytes", bytes.len()));
    let (covered, crc) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
    let (expected, found) = (u32::from_le_bytes(*crc), crc32c(covered));
    if expected != found {
        return Err(wrong(format!("checksum {found:08x} where it says {expected:08x}")));
    }
    let body = covered.strip_prefix(&MAGIC).ok_or_else(|| wrong("another magic or version".to_owned()))?;
    let mut input = Input::new("a hotness hint", body);
    let count = input.varint()?;
    let mut tables = Vec::new();
    for _ in 0..count {
        tables.push(table(&mut input)?);
    }
    match body.len() - input.offset() {
        0 => Ok(tables),
        more => Err(wrong(format!("{more} bytes behind its end"))),
    }
}

/// Grows with what has been read, whatever the count says.
fn table(input: &mut Input<'_>) -> Result<HotTable> {
    let mut table = HotTable::new(input.u64()?);
    let mut end = 0_u32;
    for _ in 0..input.varint()? {
        let (start, more) = (input.varint()?, input.varint()?);
        let heat = Heat::of(start & ((1 << HEAT_BITS) - 1));
        let first = u32::try_from(start >> HEAT_BITS).ok().and_then(|gap| end.checked_add(gap));
        let blocks = u32::try_from(more).ok().and_then(|more| more.checked_add(1));
        let run =
            heat.zip(first).zip(blocks).filter(|((_, first), blocks)| first.checked_add(*blocks).is_some());
        let Some(((heat, first), blocks)) = run else {
            return Err(Error::corruption("a hotness hint names blocks that no table has"));
        };
        let run = HotRun { first, blocks, heat };
        end = run.end();
        table.runs.push(run);
    }
    Ok(table)
}
