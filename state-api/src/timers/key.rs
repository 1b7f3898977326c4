//! Timers as bytes: the keys and values of their state, and the record that a timer is when it fires.
//!
//! `docs/formats/timers.md` is normative for what is stored. The record never leaves the task.
use std::borrow::Borrow;

use alluvium_env::{Error, Result};

use super::{TimeDomain, Timestamp};
use crate::{Codec, KeyCodec, KeyGroup, StateId, state_key};

/// Bytes of a time.
const TIME_BYTES: usize = 8;

/// What a timer's entry holds: how long its record key is. The namespace is what follows that.
pub(crate) struct KeyLength(pub(crate) u32);

impl Codec for KeyLength {
    const ID: &'static str = "timer";
    const FIXED_BYTES: Option<usize> = Some(4);

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::corruption(format!("a timer's value has {} bytes instead of 4", bytes.len()));
        bytes.try_into().map(|bytes| Self(u32::from_le_bytes(bytes))).map_err(|_| wrong())
    }
}

/// What tells a timer from others of its key group and time domain: `time · record key · namespace`. Timers are in its
/// order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TimerKey(Box<[u8]>);

impl Borrow<[u8]> for TimerKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a timer's [`TimerKey`] within its state key.
pub(crate) fn within(state_key: &[u8]) -> Result<&[u8]> {
    let (_, _, rest) = state_key::split(state_key)?;
    if rest.len() < TIME_BYTES {
        return Err(Error::corruption(format!("a timer of {} bytes has no time", rest.len())));
    }
    Ok(rest)
}

impl TimerKey {
    /// The timer of these bytes, which are [within] a state key.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// When it is due.
    pub(super) fn time(&self) -> Timestamp {
        let time = i64::take_key(&mut &*self.0);
        // Its length was looked at when it was made.
        Timestamp(time.unwrap_or(i64::MIN))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Record key and namespace.
    fn split(&self, key_len: u32) -> Result<(&[u8], &[u8])> {
        let behind = self.0.get(TIME_BYTES..).unwrap_or_default();
        let short = || Error::corruption(format!("a timer of {} bytes has a key of {key_len}", self.0.len()));
        behind.split_at_checked(key_len as usize).ok_or_else(short)
    }

    /// Appends the value of the record that it is when it fires; returns the record key.
    pub(super) fn to_record(&self, domain: TimeDomain, key_len: u32, value: &mut Vec<u8>) -> Result<&[u8]> {
        let (key, namespace) = self.split(key_len)?;
        value.push(u8::from(domain == TimeDomain::ProcessingTime));
        self.time().0.encode_key(value);
        value.extend_from_slice(namespace);
        Ok(key)
    }
}

/// Writes the state key of a timer, but for its namespace.
pub(crate) fn build(out: &mut Vec<u8>, place: (KeyGroup, StateId), time: Timestamp, record_key: &[u8]) {
    out.clear();
    state_key::append(out, place.0, place.1, &[]);
    time.0.encode_key(out);
    out.extend_from_slice(record_key);
}

/// The timer that a record is: its domain, its time and its namespace.
pub(crate) fn decode_record(value: &[u8]) -> Result<(TimeDomain, Timestamp, &[u8])> {
    let mut rest = value;
    let is_processing = bool::take_key(&mut rest)?;
    let domain = if is_processing { TimeDomain::ProcessingTime } else { TimeDomain::EventTime };
    Ok((domain, Timestamp(i64::take_key(&mut rest)?), rest))
}
