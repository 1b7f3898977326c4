//! Locks and flags of the hand-off between threads, named in one place: `async-exec/handoff` compiles mailbox and wakers
//! with those of a scheduler that tries out interleavings.
pub(crate) use std::sync::atomic::AtomicBool;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
