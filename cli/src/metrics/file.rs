//! A file of metrics for a collector that reads files.
//!
//! **Invariants**: whoever opens it finds one whole exposition: it is written beside and renamed.
//!
//! **Failure**: that it cannot be written is found at the start; later on a disk that is full costs the metrics, not the
//! job.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use alluvium_env::{Error, Result, spawn_thread};
use alluvium_host::exposition;
use prometheus_client::registry::Registry;

/// Collectors look every 10 to 60 seconds.
const INTERVAL: Duration = Duration::from_secs(5);

/// A file that is kept up to date; dropping it writes it a last time.
pub(super) struct MetricsFile {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsFile {
    pub(super) fn start(path: &Path, registry: Arc<Registry>) -> Result<Self> {
        let path = path.to_owned();
        write(&path, &registry).map_err(|e| {
            let shown = path.display();
            Error::invalid(format!("cannot write --metrics {shown}; choose another file")).with_source(e)
        })?;
        let (stop, stopped) = channel::<()>();
        let thread = spawn_thread("alluvium-metrics", move || {
            let ended = || !matches!(stopped.recv_timeout(INTERVAL), Err(RecvTimeoutError::Timeout));
            let mut last = false;
            while !last {
                last = ended();
                let _ = write(&path, &registry);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

fn write(path: &PathBuf, registry: &Registry) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let text = exposition(registry)?;
    let failed = |e: std::io::Error| Error::unavailable("it cannot be written").with_source(e);
    let mut builder = tempfile::Builder::new();
    // Whoever may read the folder may read metrics.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.prefix(".metrics-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

impl Drop for MetricsFile {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It only writes; if it panicked, the job is not the worse for it.
            let _ = thread.join();
        }
    }
}
