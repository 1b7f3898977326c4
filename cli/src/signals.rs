//! Ctrl-C and SIGTERM: the first asks for a last checkpoint, the second ends the process.
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

use alluvium_env::{Error, Result};
use alluvium_host::JobControl;

/// What a shell reports of a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// From now on signals stop the job.
///
/// # Errors
/// `Unavailable` if the handler cannot be installed.
pub(crate) fn stop_on_signal(control: JobControl) -> Result<()> {
    let asked = AtomicBool::new(false);
    let handler = move || {
        if asked.swap(true, Ordering::SeqCst) {
            exit(INTERRUPTED);
        }
        eprintln!("Stopping after a last checkpoint; once more to stop at once.");
        control.stop();
    };
    ctrlc::set_handler(handler).map_err(|e| Error::unavailable("cannot listen to Ctrl-C").with_source(e))
}
