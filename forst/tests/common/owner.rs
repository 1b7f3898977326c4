//! An owner that counts who holds what.
use std::sync::Mutex;

use alluvium_forst::Ownership;

use super::holders::{Holders, hold, release};

/// Holders of each name.
#[derive(Default)]
pub(crate) struct Owner(pub(crate) Mutex<Holders>);

impl Ownership for Owner {
    fn hold(&self, name: &str) {
        hold(&mut self.0.lock().unwrap(), name);
    }

    fn release(&self, name: &str) {
        release(&mut self.0.lock().unwrap(), name);
    }
}
