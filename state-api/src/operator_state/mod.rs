//! Operator state: what a subtask remembers beside the state of its keys.
mod part;

pub use part::{OperatorStateKind, OperatorStatePart};
