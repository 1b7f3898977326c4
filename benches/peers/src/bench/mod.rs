//! One measurement: a case on one system, in the way `alluvium bench` measures it.
//!
//! Keys, values, the order of operations, the comparison of answers and the histogram are not copies of what
//! `alluvium bench` has but its very files: whoever changes them there changes them here. What is different is the
//! driver, which calls each system by its own interface (see `peer.rs`).
mod args;
mod batch;
mod drive;
mod fold;
mod load;
mod peer;
mod process;
mod report;
mod settle;
mod systems;

#[path = "../../../../cli/src/bench/cpu.rs"]
mod cpu;
#[path = "../../../../cli/src/bench/gauge.rs"]
mod gauge;
#[path = "../../../../cli/src/bench/keys.rs"]
#[expect(dead_code, reason = "`alluvium bench` needs more of it")]
mod keys;
#[path = "../../../../cli/src/bench/oracle.rs"]
mod oracle;
#[path = "../../../../cli/src/bench/threads.rs"]
mod threads;
#[path = "../../../../cli/src/bench/values.rs"]
#[expect(dead_code, reason = "`alluvium bench` needs more of it")]
mod values;
#[path = "../../../../cli/src/bench/workload.rs"]
#[expect(dead_code, reason = "`alluvium bench` needs more of it")]
mod workload;
#[path = "../../../../cli/src/bench/zipf.rs"]
mod zipf;

use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_state_api::MaxParallelism;

pub(crate) use args::BenchArgs;
use args::Case;
use drive::Driver;
use gauge::Gauge;
use keys::Keys;
use oracle::Oracle;
use peer::{Peer, Place};
use report::{Figures, Moment};
use values::Values;
use workload::Draw;

/// Runs one measurement and prints its figures as one JSON object.
///
/// # Errors
/// What the system says, or that it answered wrongly.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal("cannot start the driver's runtime").with_source(e))?;
    args.system.check(args)?;
    let place = Place::open(args)?;
    let figures = runtime.block_on(systems::measure(args, &place))?;
    report::print(args, &place, &figures)?;
    place.clear()
}

/// A system, open, and what is needed to ask it.
struct Bench<'a, P> {
    args: &'a BenchArgs,
    place: &'a Place,
    peer: P,
    oracle: Oracle,
    gauge: Gauge,
    keys: Keys,
    draw: Draw,
}

/// How long operations go on.
#[derive(Clone, Copy)]
enum Limit {
    Records(u64),
    /// On the gauge's clock.
    Until(Duration),
}

impl<'a, P: Peer> Bench<'a, P> {
    async fn open(args: &'a BenchArgs, place: &'a Place) -> Result<Self> {
        Ok(Self {
            args,
            place,
            peer: P::open(place).await?,
            oracle: Oracle::new(Values::new(args.value_bytes(), args.seed), args.keys.0),
            gauge: Gauge::new(Arc::default())?,
            keys: Keys::new(args.keys.0, args.seed),
            draw: Draw::new(args, MaxParallelism::DEFAULT.range_of(0, 1)?),
        })
    }

    /// Loads, waits, warms up, measures, waits again.
    async fn measure(mut self) -> Result<Figures> {
        let is_load = self.args.case == Case::Load;
        let mut load = Duration::ZERO;
        if !is_load {
            // Systems need hours for some loads from afar, and a load is not what is measured then.
            self.place.set_far(false)?;
            load = self.load(load::BATCH).await?;
            self.peer.flush().await?;
            self.settle().await?;
            self.place.set_far(true)?;
            if self.place.is_resident {
                // Fills the caches; Alluvium's have what was written.
                self.peer.scan(&[], &mut |_, _| Ok(())).await?;
            }
            if self.args.warm_up() > 0 {
                self.operate(Limit::Records(self.args.warm_up())).await?;
            }
        }
        self.gauge.take()?;
        self.gauge.begin_seconds();
        let before = Moment::now(self.place)?;
        let (begun, cpu) = (self.now(), cpu::thread());
        let took = match self.args.case {
            Case::Load => {
                let took = self.load(self.args.batch()).await?;
                let flush = self.now();
                self.peer.flush().await?;
                took + self.now().saturating_sub(flush)
            }
            Case::Scan => self.scan_all().await?,
            _ => {
                let records = Limit::Records(self.args.records());
                let limit = |seconds: u32| Limit::Until(begun + Duration::from_secs(seconds.into()));
                self.operate(self.args.seconds.map_or(records, limit)).await?;
                self.now().saturating_sub(begun)
            }
        };
        let task = cpu::thread().saturating_sub(cpu);
        let after = Moment::now(self.place)?;
        let readings = self.gauge.take()?;
        let mut debt = Duration::ZERO;
        if readings.user_bytes > 0 {
            if !is_load {
                self.peer.flush().await?;
            }
            debt = self.settle().await?.saturating_sub(begun + took);
        }
        let paid_off = Moment::now(self.place)?;
        self.read_back().await?;
        let verified = self.oracle.verified();
        // One of them deletes its files when it is closed.
        let stored_bytes = self.place.stored_bytes()?;
        self.peer.close().await?;
        Ok(Figures { load, before, after, paid_off, took, task, debt, readings, verified, stored_bytes })
    }

    /// Reads the clock.
    fn now(&self) -> Duration {
        self.gauge.tick();
        self.gauge.elapsed()
    }

    async fn operate(&mut self, limit: Limit) -> Result<()> {
        let Self { args, peer, oracle, gauge, draw, .. } = self;
        let mut driver = Driver::new(peer, oracle, gauge, args);
        match limit {
            Limit::Records(records) => {
                let records = usize::try_from(records).unwrap_or(usize::MAX);
                driver.run(draw.by_ref().take(records)).await
            }
            Limit::Until(end) => driver.run(draw.by_ref().take_while(|_| gauge.elapsed() < end)).await,
        }
    }
}
