//! The lines behind busy keys: records that wait for an earlier one of their key, and hold nothing but a place.
//!
//! All lines share one table, so a line grows and shrinks without an allocation once the table has grown. Timers stand
//! before the records of a line, in the order in which they came: what a watermark fires belongs to an epoch that is
//! ending, the records to that one or to later ones.
//!
//! **Threads**: the task thread's own.

/// Marks the end of a line.
const NOBODY: u32 = u32::MAX;
/// Stands for the slot of a prelude that has not begun.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// A record in flight: where it is, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// Its batch, by the number under which it is held, and its place there.
    pub(crate) held: u32,
    pub(crate) index: u32,
    /// The number of its epoch.
    pub(crate) epoch: u64,
    /// Records in flight in the order of this number are in arrival order.
    pub(crate) arrival: u64,
    /// It is a timer and not a record.
    pub(crate) timer: bool,
    /// The slot in which its prelude has begun while it waits.
    pub(crate) prelude: u32,
}

// A line of a hundred thousand places costs what it did before there were preludes.
const _: () = assert!(size_of::<Ticket>() == 32 && size_of::<Line>() == 24);

/// One key's line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    first: u32,
    last: u32,
    /// The last timer, behind which records begin.
    last_timer: u32,
    /// The last record whose prelude has begun: those of all before it have, and of none behind it.
    last_begun: u32,
    /// How many have.
    begun: u32,
    len: u32,
}

impl Line {
    pub(crate) const EMPTY: Self =
        Self { first: NOBODY, last: NOBODY, last_timer: NOBODY, last_begun: NOBODY, begun: 0, len: 0 };

    /// How many wait.
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }

    /// Of how many of them the preludes have begun.
    pub(crate) fn begun(self) -> usize {
        self.begun as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    ticket: Ticket,
    next: u32,
}

/// The places of all lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    all: Vec<Place>,
    free: Vec<u32>,
    occupied: usize,
}

impl Lines {
    /// What one who waits takes.
    pub(crate) const PLACE_BYTES: usize = size_of::<Place>() + size_of::<u32>();

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// How many lines somebody waits in.
    pub(crate) fn occupied(&self) -> usize {
        self.occupied
    }

    /// Puts a record at the end of a line, or a timer behind the line's timers.
    pub(crate) fn join(&mut self, line: &mut Line, ticket: Ticket) {
        let before = if ticket.timer { line.last_timer } else { line.last };
        let next = match self.all.get(before as usize) {
            Some(before) => before.next,
            None if ticket.timer => line.first,
            None => NOBODY,
        };
        let place = Place { ticket, next };
        let number = self.free.pop().unwrap_or(self.all.len() as u32);
        match self.all.get_mut(number as usize) {
            Some(free) => *free = place,
            None => self.all.push(place),
        }
        match self.all.get_mut(before as usize) {
            Some(before) => before.next = number,
            None => line.first = number,
        }
        if next == NOBODY {
            line.last = number;
        }
        if ticket.timer {
            line.last_timer = number;
        }
        self.occupied += usize::from(line.len == 0);
        line.len += 1;
    }

    /// Takes the first of a line.
    pub(crate) fn take_first(&mut self, line: &mut Line) -> Option<Ticket> {
        let number = line.first;
        let Place { ticket, next } = *self.all.get(number as usize)?;
        self.free.push(number);
        if next == NOBODY {
            *line = Line::EMPTY;
            self.occupied -= 1;
            return Some(ticket);
        }
        line.first = next;
        line.len -= 1;
        if line.last_timer == number {
            line.last_timer = NOBODY;
        }
        if ticket.prelude != NO_SLOT {
            line.begun -= 1;
            if line.last_begun == number {
                line.last_begun = NOBODY;
            }
        }
        Some(ticket)
    }

    /// The first record of a line whose prelude has not begun.
    pub(crate) fn next_unbegun(&self, line: Line) -> Option<Ticket> {
        self.all.get(self.unbegun(line) as usize).map(|place| place.ticket)
    }

    /// Its prelude begins in a slot of its own.
    pub(crate) fn begin_next(&mut self, line: &mut Line, slot: u32) {
        let number = self.unbegun(*line);
        if let Some(place) = self.all.get_mut(number as usize) {
            place.ticket.prelude = slot;
            line.last_begun = number;
            line.begun += 1;
        }
    }

    fn unbegun(&self, line: Line) -> u32 {
        // Timers have none.
        let before = if line.last_begun == NOBODY { line.last_timer } else { line.last_begun };
        self.all.get(before as usize).map_or(line.first, |before| before.next)
    }

    /// A line from its first to its last.
    pub(crate) fn iter(&self, line: Line) -> impl Iterator<Item = &Ticket> {
        let place = |number: u32| self.all.get(number as usize);
        std::iter::successors(place(line.first), move |before| place(before.next)).map(|place| &place.ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(arrival: u64, timer: bool) -> Ticket {
        Ticket { held: 0, index: 0, epoch: 0, arrival, timer, prelude: NO_SLOT }
    }

    #[test]
    fn records_stand_in_order_behind_timers_in_order() {
        let (mut lines, mut line, mut other) = (Lines::default(), Line::EMPTY, Line::EMPTY);
        for (arrival, timer) in [(0, false), (1, false), (2, true), (3, false), (4, true)] {
            lines.join(&mut line, ticket(arrival, timer));
            lines.join(&mut other, ticket(arrival + 10, false));
        }
        assert_eq!(lines.iter(line).map(|ticket| ticket.arrival).collect::<Vec<_>>(), [2, 4, 0, 1, 3]);
        let first = lines.take_first(&mut line).unwrap();
        assert_eq!((first.arrival, line.len, lines.len(), lines.occupied()), (2, 4, 9, 2));
        assert_eq!(lines.take_first(&mut line).unwrap().arrival, 4);
        lines.join(&mut line, ticket(5, true));
        lines.join(&mut line, ticket(6, false));
        let rest = std::iter::from_fn(|| lines.take_first(&mut line)).map(|ticket| ticket.arrival);
        assert_eq!(rest.collect::<Vec<_>>(), [5, 0, 1, 3, 6]);
        assert_eq!((lines.len(), line.len, lines.occupied()), (5, 0, 1));
        assert!(lines.iter(other).map(|ticket| ticket.arrival).eq(10..15));
        lines.join(&mut line, ticket(7, true));
        lines.join(&mut line, ticket(8, false));
        assert!(lines.iter(line).map(|ticket| ticket.arrival).eq(7..9));
        assert_eq!(lines.all.len(), 10, "places are used again");
    }

    #[test]
    fn preludes_begin_in_the_order_of_the_line_and_timers_have_none() {
        let (mut lines, mut line) = (Lines::default(), Line::EMPTY);
        let begin = |lines: &mut Lines, line: &mut Line, slot: u32| {
            let next = lines.next_unbegun(*line).map(|ticket| ticket.arrival);
            lines.begin_next(line, slot);
            next
        };
        assert_eq!(begin(&mut lines, &mut line, 9), None);
        for (arrival, timer) in [(0, true), (1, false), (2, false), (3, false), (4, true)] {
            lines.join(&mut line, ticket(arrival, timer));
        }
        assert_eq!(begin(&mut lines, &mut line, 7), Some(1));
        lines.join(&mut line, ticket(5, true));
        assert_eq!((begin(&mut lines, &mut line, 8), line.begun()), (Some(2), 2));
        let mut take = || {
            let ticket = lines.take_first(&mut line).unwrap();
            (ticket.arrival, ticket.prelude, line.begun())
        };
        assert_eq!([take(), take(), take()], [(0, NO_SLOT, 2), (4, NO_SLOT, 2), (5, NO_SLOT, 2)]);
        assert_eq!([take(), take()], [(1, 7, 1), (2, 8, 0)]);
        assert_eq!((begin(&mut lines, &mut line, 6), begin(&mut lines, &mut line, 5)), (Some(3), None));
        lines.join(&mut line, ticket(6, false));
        assert_eq!((begin(&mut lines, &mut line, 4), line.begun()), (Some(6), 2));
        assert_eq!(lines.take_first(&mut line).unwrap().prelude, 6);
        assert_eq!(lines.take_first(&mut line).unwrap().prelude, 4);
        assert_eq!((line.begun(), line.len()), (0, 0));
    }
}
