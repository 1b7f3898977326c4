//! Types of serde as values: postcard's bytes behind a version, by one line a type.
//!
//! Postcard knows neither names nor numbers of fields: a type whose fields change is another encoding. So every value
//! carries the version that wrote it, and a type that has changed says by which older type the older versions are read:
//!
//! ```
//! use alluvium_state_api::{Codec, codec_by_serde};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order { items: Vec<String> }
//! codec_by_serde!(Order, id = "order");
//!
//! // A year later:
//! #[derive(Serialize, Deserialize)]
//! struct PaidOrder { items: Vec<String>, cents: u64 }
//! impl From<Order> for PaidOrder {
//!     fn from(old: Order) -> Self {
//!         Self { items: old.items, cents: 0 }
//!     }
//! }
//! codec_by_serde!(PaidOrder, id = "order", version = 2, reads = { 1 => Order });
//!
//! let mut stored = Vec::new();
//! Order { items: vec!["ox".into()] }.encode(&mut stored);
//! let order = PaidOrder::decode(&stored)?;
//! assert_eq!((order.items.len(), order.cents), (1, 0));
//! assert!(PaidOrder::reads(1) && !Order::reads(2));
//! # Ok::<(), alluvium_state_api::Error>(())
//! ```
//!
//! The functions here are what the macro expands to.
use alluvium_env::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{parts, wrong};

/// Makes a type of serde a [`Codec`](crate::Codec): `codec_by_serde!(Order, id = "order");`, later with `version = 2` and
/// `reads = { 1 => OldOrder }`, where `Order: From<OldOrder>`. See [`by_serde`](crate::by_serde).
#[macro_export]
macro_rules! codec_by_serde {
    ($type:ty, id = $id:literal) => {
        $crate::codec_by_serde!($type, id = $id, version = 1);
    };
    ($type:ty, id = $id:literal, version = $version:literal $(, reads = { $($old:literal => $older:ty),+ $(,)? })?) => {
        impl $crate::Codec for $type {
            const ID: &'static str = $id;
            const VERSION: u32 = $version;
            fn reads(version: u32) -> bool {
                [$version $($(, $old)+)?].contains(&version)
            }
            fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
                $crate::by_serde::encode(self, $version, out);
            }
            fn decode(bytes: &[u8]) -> $crate::Result<Self> {
                let (version, value) = $crate::by_serde::split(bytes)?;
                match version {
                    $version => $crate::by_serde::decode::<Self>(value, $id),
                    $($($old => $crate::by_serde::decode::<$older>(value, $id).map(Self::from),)+)?
                    other => $crate::by_serde::unknown(other, $id),
                }
            }
        }
    };
}

/// Appends a version and a value.
///
/// # Panics
/// If the type's `Serialize` fails: it wants a format that describes itself (`flatten`, say), or refuses this value.
pub fn encode<T: Serialize>(value: &T, version: u32, out: &mut Vec<u8>) {
    parts::push_number(version.into(), out);
    let extended = postcard::to_extend(value, std::mem::take(out));
    assert!(extended.is_ok(), "{} cannot be encoded: {extended:?}", std::any::type_name::<T>());
    *out = extended.unwrap_or_default();
}

/// Takes the version off the front.
///
/// # Errors
/// `Corruption` if there is none.
pub fn split(mut bytes: &[u8]) -> Result<(u32, &[u8])> {
    let whole = bytes;
    let version = parts::take_number(&mut bytes)?;
    Ok((u32::try_from(version).map_err(|_| wrong("version", whole))?, bytes))
}

/// Reads a value.
///
/// # Errors
/// `Corruption` if the bytes are not one, or more than one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], id: &str) -> Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(wrong(id, bytes)),
        Err(error) => Err(wrong(id, bytes).with_source(error)),
    }
}

/// The error of a version that the type does not read.
///
/// # Errors
/// Always `Corruption`: a state of such a version would not have been opened.
pub fn unknown<T>(version: u32, id: &str) -> Result<T> {
    Err(Error::corruption(format!(
        "a value of version {version} of codec {id}, which this one does not read"
    )))
}
