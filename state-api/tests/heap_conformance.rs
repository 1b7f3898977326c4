//! The heap backend passes the conformance suite.
use alluvium_state_api::conformance::Suite;
use alluvium_state_api::{HeapBackendFactory, Result, SnapshotTask, SubtaskSnapshot};

fn run_snapshot(mut task: SnapshotTask) -> Result<SubtaskSnapshot> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match task.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(snapshot) => snapshot,
        std::task::Poll::Pending => unreachable!("the heap backend's snapshot does no I/O"),
    }
}

#[test]
fn the_heap_backend_conforms() {
    Suite { factory: &HeapBackendFactory, run_snapshot: &run_snapshot, operations: 3000, seeds: 20 }.run();
}
