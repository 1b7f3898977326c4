//! Parts: values one behind the other. One of fixed size stands as it is, any other behind its length in LEB128.
use alluvium_env::Result;

use super::{Codec, wrong};

/// The size of every value; nothing if it is none, since so many could be in no bytes at all.
pub(super) const fn fixed<T: Codec>() -> Option<usize> {
    match T::FIXED_BYTES {
        Some(0) => None,
        fixed => fixed,
    }
}

/// Appends a part.
#[inline]
pub(super) fn push<T: Codec>(value: &T, out: &mut Vec<u8>) {
    if fixed::<T>().is_some() {
        value.encode(out);
    } else {
        let start = out.len();
        // Most parts are short: their length is written over this byte.
        out.push(0);
        value.encode(out);
        put_length(out, start);
    }
}

/// Writes the length of what stands behind the byte at `start`.
#[inline]
fn put_length(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start - 1;
    match out.get_mut(start) {
        Some(byte) if length < 0x80 => *byte = length as u8,
        _ => {
            let mut leb = Vec::new();
            push_number(length as u64, &mut leb);
            out.splice(start..=start, leb);
        }
    }
}

/// Reads a part off the front.
#[inline]
pub(super) fn take<T: Codec>(bytes: &mut &[u8]) -> Result<T> {
    T::decode(match fixed::<T>() {
        Some(size) => take_raw(bytes, size)?,
        None => take_bytes(bytes)?,
    })
}

/// Reads bytes behind their length off the front.
pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let whole = *bytes;
    let length = take_number(bytes)?;
    take_raw(bytes, usize::try_from(length).map_err(|_| wrong("part", whole))?)
}

#[inline]
fn take_raw<'a>(bytes: &mut &'a [u8], size: usize) -> Result<&'a [u8]> {
    let (part, rest) = bytes.split_at_checked(size).ok_or_else(|| wrong("part", bytes))?;
    *bytes = rest;
    Ok(part)
}

/// Appends a number in LEB128.
pub(super) fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number in LEB128 off the front; only the shortest form is one.
#[inline]
pub(super) fn take_number(bytes: &mut &[u8]) -> Result<u64> {
    let whole = *bytes;
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first().ok_or_else(|| wrong("number", whole))?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7F);
        let overlong = *byte == 0 && shift > 0;
        if overlong || shift > 63 || (bits << shift) >> shift != bits {
            return Err(wrong("number", whole));
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip_and_no_bytes_but_these_are_one(number: u64, shift in 0_u32..64, bytes: [u8; 11]) {
            let number = number >> shift;
            let mut out = Vec::new();
            push_number(number, &mut out);
            let mut rest = out.as_slice();
            prop_assert_eq!((take_number(&mut rest).unwrap(), rest.len()), (number, 0));
            let mut rest = bytes.as_slice();
            if let Ok(number) = take_number(&mut rest) {
                out.clear();
                push_number(number, &mut out);
                prop_assert_eq!(out.as_slice(), &bytes[..bytes.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn long_parts_come_back_too() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let (mut out, part) = (Vec::new(), "x".repeat(length));
            push(&part, &mut out);
            push(&7_u16, &mut out);
            let mut rest = out.as_slice();
            assert_eq!(take::<String>(&mut rest).unwrap(), part);
            assert_eq!((take::<u16>(&mut rest).unwrap(), rest.len()), (7, 0));
        }
    }
}
