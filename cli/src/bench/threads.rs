//! CPU time of this process's threads, by what they are for.
use std::fs;
use std::time::Duration;

/// CPU that all threads whose names begin so have taken, as the kernel counts it; zero where it does not.
pub(super) fn cpu_of(prefix: &str) -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let times = name.starts_with(prefix).then(|| fs::read_to_string(thread.path().join("schedstat")))?;
        times.ok()?.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use alluvium_env::{Clock as _, SystemClock, spawn_thread};

    use super::*;

    #[test]
    fn a_busy_thread_is_found_by_its_name() {
        let ((done, worked), (leave, left)) = (channel(), channel::<()>());
        let thread = spawn_thread("bench-test-busy", move || {
            let clock = SystemClock::new();
            while clock.monotonic() < Duration::from_millis(30) {}
            done.send(()).unwrap();
            let _ = left.recv();
        })
        .unwrap();
        worked.recv().unwrap();
        assert!(cpu_of("bench-test-bus") > Duration::from_millis(1));
        assert_eq!(cpu_of("nobody is called so"), Duration::ZERO);
        drop(leave);
        thread.join().unwrap();
    }
}
