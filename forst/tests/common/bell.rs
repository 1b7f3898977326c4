//! What a store rings when something of its own has ended, and a test waits for.
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One bell, however often it is cloned.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    /// What a store calls.
    pub(crate) fn ringer(&self) -> Arc<dyn Fn() + Send + Sync> {
        let bell = self.clone();
        Arc::new(move || {
            *bell.0.0.lock().unwrap() = true;
            bell.0.1.notify_all();
        })
    }

    /// Waits until it has rung since it was last waited for.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<(), &'static str> {
        let rung = self.0.0.lock().unwrap();
        let (mut rung, _) = self.0.1.wait_timeout_while(rung, at_most, |rung| !*rung).unwrap();
        if std::mem::take(&mut *rung) { Ok(()) } else { Err("nobody rang in time") }
    }
}
