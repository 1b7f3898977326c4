//! Query 8, monitor new users: who has entered the system and put up an auction within the same 10 seconds.
//!
//! ```sql
//! SELECT P.id, P.name, P.starttime
//! FROM (SELECT id, name, window_start AS starttime, window_end AS endtime
//!       FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
//!       GROUP BY id, name, window_start, window_end) P
//! JOIN (SELECT seller, window_start AS starttime, window_end AS endtime
//!       FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
//!       GROUP BY seller, window_start, window_end) A
//! ON P.id = A.seller AND P.starttime = A.starttime AND P.endtime = A.endtime
//! ```
//!
//! **Key**: the person, as who enters and as who sells. **State**: both sides of the window join, each in the namespace of the
//! window's start: the name, and that there was an auction. Both are written without being read. **Timers**: one a person and
//! window, at its end; it reads both sides together and forgets them.
use alluvium_state_api::{
    Context, KeyedProcess, Result, States, Timer, Timestamp, ValueState, codec_by_serde,
};
use nexmark::event::Event;
use serde::{Deserialize, Serialize};

use super::{Query, RowOf, SECOND, window_start};
use crate::answer::{Change, Emitted, Rows};
use crate::events::{Stream, time_of};
use crate::oracle;

/// How long a window is.
pub(crate) const WINDOW: i64 = 10 * SECOND;

/// What a person did at a time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Deed {
    Entered { name: String, time: i64 },
    Sold { time: i64 },
}
codec_by_serde!(Deed, id = "q8 deed");

/// A person who sold something in the window in which they entered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NewSeller {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// The window's.
    pub(crate) start: i64,
}

/// See the module.
pub(crate) struct Q8;

impl Query for Q8 {
    const NAME: &'static str = "q8";
    type Process = NewSellers;
    type Key = u64;
    type Stage = Emitted<NewSeller>;

    fn project(_: u64, event: Event) -> Option<(u64, Deed)> {
        let time = time_of(&event);
        match event {
            Event::Person(person) => Some((person.id as u64, Deed::Entered { name: person.name, time })),
            Event::Auction(auction) => Some((auction.seller as u64, Deed::Sold { time })),
            Event::Bid(_) => None,
        }
    }

    fn open(states: &States<'_>) -> Result<NewSellers> {
        let windows = states.in_namespaces();
        Ok(NewSellers { names: windows.value("names")?, sold: windows.value("sold")? })
    }

    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>) {
        oracle::q8(stream, rows);
    }
}

/// The operator.
pub(crate) struct NewSellers {
    names: ValueState<String, i64>,
    sold: ValueState<(), i64>,
}

impl KeyedProcess for NewSellers {
    type In = Deed;
    type Out = Change<NewSeller>;
    const USES_TIMERS: bool = true;

    async fn process(&self, deed: Deed, person: &Context<Self::Out>) -> Result<()> {
        let (Deed::Entered { time, .. } | Deed::Sold { time }) = deed;
        let start = window_start(time, WINDOW);
        let window = person.in_namespace(&start);
        match deed {
            Deed::Entered { name, .. } => self.names.put(window, &name)?,
            Deed::Sold { .. } => self.sold.put(window, &())?,
        }
        window.register_event_timer(Timestamp(start + WINDOW - 1))
    }

    async fn on_timer(&self, timer: Timer, person: &Context<Self::Out>) -> Result<()> {
        let start = timer.namespace::<i64>()?;
        let window = person.in_namespace(&start);
        let (name, sold) = (self.names.get(window), self.sold.get(window));
        let (name, sold) = (name.await?, sold.await?);
        if sold.is_some() {
            self.sold.clear(window)?;
        }
        let Some(name) = name else { return Ok(()) };
        self.names.clear(window)?;
        if sold.is_some() {
            person.emit(Change::Insert(NewSeller { id: person.key::<u64>()?, name, start }));
        }
        Ok(())
    }
}
