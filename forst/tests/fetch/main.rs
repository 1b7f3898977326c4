//! The fetch layer through a whole store: the disk tier, patience with a failing object store, round trips.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![expect(unreachable_pub, reason = "the modules of one test")]
#[path = "../common"]
mod common {
    pub(crate) mod bell;
    pub(crate) mod failures;
    pub(crate) mod layer;
    pub(crate) mod pages;
    pub(crate) mod reads;
}
mod bottom;
mod disk;
mod faulty;
mod help;
mod lending;
mod patience;
mod rounds;
mod slim;
mod warm;
mod warm_up;
mod world;
