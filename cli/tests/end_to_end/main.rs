//! The built `alluvium` binary from the outside: exact counts through kills, restarts, other parallelisms and stores; one
//! clear sentence for everything that is wrong.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
mod bad_input;
mod bench;
mod compactor;
mod complete;
mod corruption;
mod counts;
mod crash;
mod gc;
mod golden;
mod logging;
mod metrics;
mod moments;
mod process;
mod s3;
mod s3_server;
mod savepoint;
mod savepoint_restore;
mod sst;
mod state;
mod stop;
mod text;
