//! Operator state: what a subtask remembers beside the state of its keys (Flink's `OperatorStateStore`).
//!
//! It belongs to no key, lies in the subtask's memory, and goes into a checkpoint whole: as many bytes as it holds, at every
//! checkpoint, in the checkpoint's own entry. So it is for offsets, tables of rules, settings; what grows with the stream is
//! keyed state. All operator states of a subtask together may take [`OperatorStates::MAX_BYTES`] or what
//! their job gives them, and take that twice in memory, which is reserved of its budget (design D14).
//!
//! **Invariants**: a write is an effect of its record like a write of keyed state, so a checkpoint never holds both the record
//! and what it wrote. A restored state that nobody opens, nor drops, is an error: it would be gone with the next checkpoint.
//!
//! **Threads**: the task thread's own.
mod broadcast;
mod list;
mod part;
mod registry;
#[cfg(test)]
mod tests;

pub use broadcast::BroadcastState;
pub use list::{OperatorListState, UnionListState};
pub use part::{OperatorStateKind, OperatorStatePart};
pub use registry::OperatorStates;
pub(crate) use writer::Writer;

/// Who writes an operator list.
pub trait OperatorScope: Writer {}

impl<Out> OperatorScope for &crate::Context<Out> {}
impl<Out> OperatorScope for &crate::BroadcastContext<'_, Out> {}
impl OperatorScope for &crate::States<'_> {}

mod writer {
    /// Is told that something is about to be written.
    pub trait Writer: Copy {
        fn writes(self);
    }

    impl<Out> Writer for &crate::Context<Out> {
        fn writes(self) {
            self.effect();
        }
    }

    // Neither is a record that a checkpoint might keep.
    impl<Out> Writer for &crate::BroadcastContext<'_, Out> {
        fn writes(self) {}
    }
    impl Writer for &crate::States<'_> {
        fn writes(self) {}
    }
}
