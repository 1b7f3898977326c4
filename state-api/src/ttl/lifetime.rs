//! The lifetime of one state's values: how they are stamped, when they expire, what is left of them.
use std::borrow::Cow;

use alluvium_env::{Error, Result};

use super::stored::{Chain, STAMP_BYTES, split_stamp};
use super::{StateTtl, TtlUpdate, TtlVisibility};
use crate::{StateKind, list_elements, push_list_element};

/// Reads renew a value at most this often in its life.
pub(crate) const RENEWALS_IN_A_LIFE: u64 = 10;

/// Where the stamps of a state are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Single,
    Accumulated,
    List,
}

/// How long the values of one state live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    shape: Shape,
    ttl: StateTtl,
    /// What was updated before this had expired before the last restart, whatever the duration says now.
    floor_millis: u64,
}

/// What a moment leaves of stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Updated(Chain),
}

impl Lifetime {
    pub(super) fn new(kind: &StateKind, ttl: StateTtl, floor_millis: u64) -> Self {
        let shape = match kind {
            StateKind::Value | StateKind::Map => Shape::Single,
            StateKind::List => Shape::List,
            StateKind::Reducing(_) | StateKind::Aggregating(_) => Shape::Accumulated,
        };
        Self { shape, ttl, floor_millis }
    }

    pub(super) fn ttl(&self) -> &StateTtl {
        &self.ttl
    }

    /// What was updated before this has expired by `now`.
    #[inline]
    pub(super) fn expired_before(&self, now: u64) -> u64 {
        now.saturating_add(1).saturating_sub(self.ttl.millis()).max(self.floor_millis)
    }

    pub(super) fn is_accumulated(&self) -> bool {
        self.shape == Shape::Accumulated
    }

    pub(super) fn shows_expired(&self) -> bool {
        self.ttl.visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp
    }

    pub(super) fn renews(&self) -> bool {
        self.ttl.update == TtlUpdate::OnReadAndWrite
    }

    /// Stamps a value or an operand.
    pub(super) fn stamp(&self, value: &[u8], now: u64, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match self.shape {
            Shape::Single => out.extend_from_slice(&now.to_le_bytes()),
            Shape::Accumulated => out.extend_from_slice(&Chain::at(now).bytes()),
            Shape::List => {
                for element in list_elements(value) {
                    push_stamped(out, now, element?)?;
                }
                return Ok(());
            }
        }
        out.extend_from_slice(value);
        Ok(())
    }

    /// Whether a put leaves nothing: an empty list is an absent one.
    pub(super) fn clears(&self, value: &[u8]) -> bool {
        self.shape == Shape::List && value.is_empty()
    }

    /// What a reader sees of stored bytes at `now`.
    pub(super) fn visible<'a>(&self, stored: Cow<'a, [u8]>, now: u64) -> Result<Option<Cow<'a, [u8]>>> {
        // What had expired before the last restart may have been hidden by what was cleaned up with no tombstone left.
        let expired_before = if self.shows_expired() { self.floor_millis } else { self.expired_before(now) };
        let head_bytes = match self.shape {
            Shape::Single => STAMP_BYTES,
            Shape::Accumulated => Chain::BYTES,
            Shape::List => return visible_elements(&stored, expired_before),
        };
        let updated = self.updated(&stored)?;
        if updated < expired_before {
            return Ok(None);
        }
        Ok(Some(match stored {
            Cow::Borrowed(stored) => Cow::Borrowed(stored.get(head_bytes..).unwrap_or_default()),
            Cow::Owned(mut stored) => {
                stored.drain(..head_bytes);
                Cow::Owned(stored)
            }
        }))
    }

    /// The stamp of a stored value or accumulator.
    fn updated(&self, stored: &[u8]) -> Result<u64> {
        Ok(match self.shape {
            Shape::Accumulated => Chain::split(stored)?.0.updated,
            Shape::Single | Shape::List => split_stamp(stored)?.0,
        })
    }

    /// What a read at `now` has to write, if the state renews on reads and something of the value is due for it.
    pub(super) fn renewed(&self, stored: &[u8], now: u64) -> Result<Option<Vec<u8>>> {
        if !self.renews() {
            return Ok(None);
        }
        let expired_before = self.expired_before(now);
        let due_before =
            now.saturating_add(1).saturating_sub((self.ttl.millis() / RENEWALS_IN_A_LIFE).max(1));
        let mut renewed = Vec::with_capacity(stored.len());
        let is_due = if self.shape == Shape::List {
            let mut is_due = false;
            for element in list_elements(stored) {
                let (updated, element) = split_stamp(element?)?;
                if updated >= expired_before {
                    is_due |= updated < due_before;
                    push_stamped(&mut renewed, now, element)?;
                }
            }
            is_due
        } else {
            let updated = self.updated(stored)?;
            match self.shape {
                Shape::Accumulated => {
                    let (chain, _) = Chain::split(stored)?;
                    renewed.extend_from_slice(&Chain { updated: now, ..chain }.bytes());
                }
                Shape::Single | Shape::List => renewed.extend_from_slice(&now.to_le_bytes()),
            }
            renewed.extend_from_slice(stored.get(renewed.len()..).unwrap_or_default());
            updated >= expired_before && updated < due_before
        };
        Ok(is_due.then_some(renewed))
    }

    /// Takes out what has expired by `now`. An accumulator is left alone if newer adds, the first of them made at
    /// `horizon` or later, may belong to its chain.
    pub(super) fn clean(&self, stored: &mut Vec<u8>, now: u64, horizon: u64) -> Result<Left> {
        let left = |updated, alive| if alive { Left::Updated(updated) } else { Left::Nothing };
        match self.shape {
            Shape::Single => {
                let (updated, _) = split_stamp(stored)?;
                Ok(left(Chain::at(updated), updated >= self.expired_before(now)))
            }
            Shape::Accumulated => {
                let (chain, _) = Chain::split(stored)?;
                Ok(left(chain, chain.updated >= self.unreachable_before(now.min(horizon))))
            }
            Shape::List => {
                let latest = clean_elements(stored, self.expired_before(now))?;
                Ok(left(Chain::at(latest.unwrap_or_default()), latest.is_some()))
            }
        }
    }

    /// An accumulator whose last add was before this has expired by `horizon`, and no add made then or later belongs to
    /// its chain. The floor says nothing here: an old base of a chain that went on is part of what lives.
    pub(super) fn unreachable_before(&self, horizon: u64) -> u64 {
        horizon.saturating_add(1).saturating_sub(self.ttl.millis())
    }
}

fn push_stamped(out: &mut Vec<u8>, now: u64, element: &[u8]) -> Result<()> {
    let length = u32::try_from(element.len() + STAMP_BYTES).map_err(|_| {
        Error::invalid(format!("a list element of {} bytes: split it, 4 GiB is the limit", element.len()))
    })?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&now.to_le_bytes());
    out.extend_from_slice(element);
    Ok(())
}

fn visible_elements<'a>(stored: &[u8], expired_before: u64) -> Result<Option<Cow<'a, [u8]>>> {
    let mut list = Vec::with_capacity(stored.len());
    for element in list_elements(stored) {
        let (updated, element) = split_stamp(element?)?;
        if updated >= expired_before {
            push_list_element(&mut list, element);
        }
    }
    // A stamped element is never shorter than its length: an empty list has none.
    Ok((!list.is_empty()).then_some(Cow::Owned(list)))
}

/// Drops elements from a stored list; returns the latest stamp of those that stay.
fn clean_elements(stored: &mut Vec<u8>, expired_before: u64) -> Result<Option<u64>> {
    let (mut latest, mut expires) = (None, false);
    for element in list_elements(stored) {
        let (updated, _) = split_stamp(element?)?;
        if updated < expired_before {
            expires = true;
        } else {
            latest = latest.max(Some(updated));
        }
    }
    if expires {
        let mut kept = Vec::with_capacity(stored.len());
        for element in list_elements(stored) {
            let element = element?;
            if split_stamp(element)?.0 >= expired_before {
                push_list_element(&mut kept, element);
            }
        }
        *stored = kept;
    }
    Ok(latest)
}
