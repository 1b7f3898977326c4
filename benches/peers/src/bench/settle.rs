//! Waiting until background work is quiet: nothing is written, and hardly any CPU is taken.
use std::time::Duration;

use alluvium_env::Result;

use super::Bench;
use super::cpu;
use super::peer::{LOOK, Peer};

/// So long nothing may have happened; longer than the pauses in which systems look for work.
const QUIET: Duration = Duration::from_millis(1500);
/// A process that takes more than one part in so many of a core is at work.
const IDLE_SHARE: u32 = 5;
/// A heartbeat, a line in a log: that is no work.
const NOTHING_BYTES: u64 = 16 << 10;

impl<P: Peer> Bench<'_, P> {
    /// Waits; returns when the last thing happened, on the gauge's clock.
    pub(super) async fn settle(&self) -> Result<Duration> {
        let look = || Ok((self.now(), self.place.moved_bytes()?, cpu::process()));
        let mut seen = look()?;
        let (mut begun, mut quiet_at) = (seen.0, seen.0);
        loop {
            tokio::time::sleep(LOOK).await;
            let current = look()?;
            let passed = current.0.saturating_sub(seen.0);
            let is_at_work = current.1.saturating_sub(seen.1) > NOTHING_BYTES
                || current.2.saturating_sub(seen.2) * IDLE_SHARE > passed;
            if is_at_work {
                (begun, quiet_at) = (current.0, current.0);
            }
            if current.0.saturating_sub(begun) >= QUIET {
                return Ok(quiet_at);
            }
            seen = current;
        }
    }
}
