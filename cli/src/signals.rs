//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process.
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
    on_signal("Stopping after a last checkpoint; once more to stop at once.", move || control.stop())
}

/// From now on signals call `stop`, which is announced so.
///
/// # Errors
/// `Unavailable` if the handler cannot be installed.
pub(crate) fn on_signal(announced: &'static str, stop: impl Fn() + Send + 'static) -> Result<()> {
    let asked = AtomicBool::new(false);
    let handler = move || {
        if asked.swap(true, Ordering::SeqCst) {
            exit(INTERRUPTED);
        }
        eprintln!("{announced}");
        stop();
    };
    ctrlc::set_handler(handler).map_err(|e| Error::unavailable("cannot listen to Ctrl-C").with_source(e))
}
