//! Checkpoints that somebody asked for: who waits for which, and what they are told.
use std::sync::mpsc::{Receiver, Sender, channel};

use alluvium_checkpoint::CompletedCheckpoint;
use alluvium_env::{Error, Result};
use alluvium_state_api::CheckpointId;

/// Who waits.
pub(crate) type Answer = Sender<Result<CompletedCheckpoint>>;

/// A checkpoint that was asked for with [`JobControl::checkpoint`](super::JobControl::checkpoint).
#[derive(Debug)]
pub struct RequestedCheckpoint {
    answer: Receiver<Result<CompletedCheckpoint>>,
}

impl RequestedCheckpoint {
    pub(super) fn new() -> (Answer, Self) {
        let (sender, answer) = channel();
        (sender, Self { answer })
    }

    /// Waits until the checkpoint, or a newer one that holds all that it would have held, is complete. Blocks; not for
    /// a thread of the job.
    ///
    /// # Errors
    /// What it failed with; `Closed` if the job ended, or was not running, without it.
    pub fn wait(self) -> Result<CompletedCheckpoint> {
        let ended = || Error::closed("the job ended before the checkpoint that was asked for");
        self.answer.recv().unwrap_or_else(|_| Err(ended()))
    }
}

/// All who wait.
#[derive(Default)]
pub(super) struct Requests {
    waiting: Vec<Answer>,
    begun: Vec<(CheckpointId, Answer)>,
}

impl Requests {
    pub(super) fn ask(&mut self, answer: Answer) {
        self.waiting.push(answer);
    }

    /// Whether a checkpoint is wanted that has not begun.
    pub(super) fn wanted(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A checkpoint begins, for whatever reason: it is what all who wait have asked for.
    pub(super) fn begin(&mut self, id: CheckpointId) {
        self.begun.extend(self.waiting.drain(..).map(|answer| (id, answer)));
    }

    /// A checkpoint is complete.
    pub(super) fn complete(&mut self, completed: &CompletedCheckpoint) {
        for (_, answer) in self.begun.extract_if(.., |(id, _)| *id <= completed.id) {
            // Whoever asked may have gone.
            let _ = answer.send(Ok(*completed));
        }
    }

    /// What is not pending any more, and was not completed, has failed for `reason`.
    pub(super) fn give_up(&mut self, is_pending: impl Fn(CheckpointId) -> bool, reason: Option<&str>) {
        for (id, answer) in self.begun.extract_if(.., |(id, _)| !is_pending(*id)) {
            let reason = reason.map_or_else(|| format!("checkpoint {id} was given up"), ToOwned::to_owned);
            let _ = answer.send(Err(Error::unavailable(reason)));
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    fn completed(id: u64) -> CompletedCheckpoint {
        let id = CheckpointId(id);
        CompletedCheckpoint { id, sync_micros: 0, async_millis: 0, uploaded_bytes: 0, inputs_kept: 0 }
    }

    #[test]
    fn everybody_is_told_of_the_first_checkpoint_that_began_after_they_asked() {
        let mut requests = Requests::default();
        let ask = |requests: &mut Requests| {
            let (answer, requested) = RequestedCheckpoint::new();
            requests.ask(answer);
            requested
        };
        let (first, second) = (ask(&mut requests), ask(&mut requests));
        assert!(requests.wanted());
        requests.begin(CheckpointId(1));
        assert!(!requests.wanted());
        let (third, fourth) = (ask(&mut requests), RequestedCheckpoint::new().1);
        requests.begin(CheckpointId(2));
        requests.complete(&completed(1));
        requests.give_up(|id| id.0 > 2, Some("the store is full"));
        assert_eq!((first.wait().unwrap().id, second.wait().unwrap().id), (CheckpointId(1), CheckpointId(1)));
        assert!(third.wait().unwrap_err().to_string().contains("the store is full"));
        assert_eq!(fourth.wait().unwrap_err().kind(), ErrorKind::Closed);
    }

    #[test]
    fn a_newer_checkpoint_is_an_answer_too() {
        let mut requests = Requests::default();
        let (answer, requested) = RequestedCheckpoint::new();
        requests.ask(answer);
        requests.begin(CheckpointId(3));
        requests.complete(&completed(2));
        requests.complete(&completed(4));
        assert_eq!(requested.wait().unwrap().id, CheckpointId(4));
    }
}
