//! The watermark of a task: the least of those that its lanes have brought.
//!
//! A lane whose input has ended says nothing any more and holds nobody up; when all have, event time is over. One that was
//! stopped stays where it is, since its input goes on another time.
use alluvium_state_api::Timestamp;

/// How far each lane's event time has come.
#[derive(Debug)]
pub(super) struct Watermarks {
    lanes: Vec<Timestamp>,
    task: Timestamp,
}

impl Watermarks {
    pub(super) fn new(lanes: usize) -> Self {
        Self { lanes: vec![Timestamp::MIN; lanes], task: Timestamp::MIN }
    }

    /// A lane has brought a watermark. Returns the task's if that has advanced.
    pub(super) fn advance(&mut self, lane: usize, watermark: Timestamp) -> Option<Timestamp> {
        let lane = self.lanes.get_mut(lane)?;
        *lane = watermark.max(*lane);
        let least = self.lanes.iter().copied().min()?;
        let before = std::mem::replace(&mut self.task, least);
        (least > before).then_some(least)
    }

    /// The input behind a lane has ended. Returns the task's watermark if that has advanced.
    pub(super) fn end(&mut self, lane: usize) -> Option<Timestamp> {
        self.advance(lane, Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_s_watermark_is_the_least_of_its_lanes_and_never_goes_back() {
        let mut watermarks = Watermarks::new(3);
        let at = |time| Some(Timestamp(time));
        assert_eq!(watermarks.advance(0, Timestamp(5)), None);
        assert_eq!(watermarks.advance(1, Timestamp(7)), None, "lane 2 has said nothing");
        assert_eq!(watermarks.advance(2, Timestamp(6)), at(5));
        assert_eq!(watermarks.advance(0, Timestamp(3)), None);
        assert_eq!(watermarks.advance(0, Timestamp(9)), at(6));
        assert_eq!(watermarks.end(2), at(7), "a lane that has ended holds nobody up");
        assert_eq!(watermarks.end(1), at(9));
        assert_eq!(watermarks.end(0), Some(Timestamp::MAX));
    }
}
