//! Epochs: the spans between what is not a record (design D15).
//!
//! A barrier, a watermark or the end of input closes the epoch: nothing is admitted until the epoch has ended and
//! the event has been handled. That is the serial order of FLIP-425, in which no record of the next epoch can
//! overtake the event.

/// When a closed epoch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochEnd {
    /// When no record in flight has written or emitted: enough for a barrier, which keeps the others as inputs of the
    /// checkpoint. Those are neither started nor polled meanwhile, so a barrier waits for what is under way and never
    /// for what comes after it.
    Settled,
    /// When no record is in flight: for watermarks and the end of input.
    Drained,
}
