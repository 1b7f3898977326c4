//! What `async-exec/src/sync.rs` names, of the scheduler.
pub(crate) use shuttle::sync::atomic::AtomicBool;
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
