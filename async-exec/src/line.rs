//! The lines behind busy keys: records that wait for an earlier one of their key, and hold nothing but a place.
//!
//! All lines share one table, so a line grows and shrinks without an allocation once the table has grown. Timers stand
//! before the records of a line, in the order in which they came: what a watermark fires belongs to an epoch that is
//! ending, the records to that one or to later ones.
//!
//! **Threads**: the task thread's own.

/// Marks the end of a line.
const NOBODY: u32 = u32::MAX;

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
}

/// One key's line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    first: u32,
    last: u32,
    /// The last timer, behind which records begin.
    last_timer: u32,
    len: usize,
}

impl Line {
    pub(crate) const EMPTY: Self = Self { first: NOBODY, last: NOBODY, last_timer: NOBODY, len: 0 };

    /// How many wait.
    pub(crate) fn len(self) -> usize {
        self.len
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
        Some(ticket)
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
        Ticket { held: 0, index: 0, epoch: 0, arrival, timer }
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
}
