//! What the broadcast side of a function sees of its task.
use super::TaskContext;
use crate::Timestamp;

/// One element of the broadcast side: its outputs, its task, and the right to write broadcast state. There is no key.
pub struct BroadcastContext<'a, Out> {
    task: &'a TaskContext<Out>,
}

impl<'a, Out> BroadcastContext<'a, Out> {
    /// For whoever runs broadcast elements: on a task in which no record before the element is in flight.
    pub fn new(task: &'a TaskContext<Out>) -> Self {
        Self { task }
    }

    /// Sends a result downstream; every subtask does.
    pub fn emit(&self, out: Out) {
        self.task.outputs.borrow_mut().push(out);
    }

    /// The watermark, as [`Context::current_watermark`](crate::Context::current_watermark). It may differ between subtasks.
    pub fn current_watermark(&self) -> Timestamp {
        self.task.watermark()
    }
}
