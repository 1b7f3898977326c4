//! The task thread's loop: operations one after the other, in batches, or several reads under way at once.
use alluvium_env::{Error, Result};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::args::BenchArgs;
use super::batch::Batch;
use super::gauge::Gauge;
use super::keys::{KEY_BYTES, Keys};
use super::oracle::Oracle;
use super::peer::Peer;
use super::workload::{Action, Command, Target};

/// See the module.
pub(super) struct Driver<'a, P> {
    pub(super) peer: &'a mut P,
    pub(super) oracle: &'a Oracle,
    pub(super) gauge: &'a Gauge,
    args: &'a BenchArgs,
    keys: Keys,
    pub(super) value: Vec<u8>,
}

impl<'a, P: Peer> Driver<'a, P> {
    pub(super) fn new(peer: &'a mut P, oracle: &'a Oracle, gauge: &'a Gauge, args: &'a BenchArgs) -> Self {
        Self { peer, oracle, gauge, args, keys: Keys::new(args.keys.0, args.seed), value: Vec::new() }
    }

    /// Runs all operations to their ends.
    ///
    /// # Errors
    /// The system's, or that it answered wrongly.
    pub(super) async fn run(&mut self, targets: impl Iterator<Item = Target>) -> Result<()> {
        self.gauge.tick();
        if self.args.batch() > 1 {
            return self.run_batches(targets).await;
        }
        if self.args.in_flight > 1 {
            return self.run_abreast(targets).await;
        }
        for target in targets {
            let start = self.gauge.last();
            match target.command.action {
                Action::Rmw => self.change(target).await?,
                Action::MapScan => self.scan(target).await?,
                Action::Add | Action::Append => self.merge(target).await?,
                _ => self.get(target).await?,
            }
            self.gauge.done(start);
        }
        Ok(())
    }

    async fn get(&self, target: Target) -> Result<()> {
        self.peer.get(&target.key.bytes, |value| check(self.oracle, target.command, value)).await
    }

    async fn change(&mut self, target: Target) -> Result<()> {
        let Self { peer, oracle, value: buffer, .. } = self;
        let Target { command, key } = target;
        let look = |value: Option<&[u8]>| {
            check(oracle, command, value)?;
            buffer.clear();
            buffer.extend_from_slice(value.unwrap_or_default());
            Ok(())
        };
        peer.get(&key.bytes, look).await?;
        oracle.values.advance(command.index, buffer)?;
        oracle.changed(command.index);
        self.gauge.wrote(KEY_BYTES + buffer.len());
        peer.put(&key.bytes, buffer).await
    }

    async fn scan(&mut self, target: Target) -> Result<()> {
        let Target { command: Command { index, .. }, .. } = target;
        let key = self.args.map_key(&self.keys, index);
        let (length, mut seen) = (self.args.scan_length(), 0);
        let look = &mut |found: &[u8], value: &[u8]| {
            let number = found.strip_prefix(key.bytes.as_slice()).and_then(|rest| rest.try_into().ok());
            if number.map(u64::from_be_bytes) != Some(seen) {
                return Err(wrong(index, seen));
            }
            self.oracle.check_entry(index, index * length + seen, value)?;
            seen += 1;
            Ok(())
        };
        self.peer.scan(&key.bytes, look).await?;
        if seen == length { Ok(()) } else { Err(wrong(index, seen)) }
    }

    /// Keys of a batch are looked up together, and what was changed is written together.
    async fn run_batches(&mut self, mut targets: impl Iterator<Item = Target>) -> Result<()> {
        let mut batch = Batch::default();
        loop {
            let start = self.gauge.last();
            let count = batch.fill(targets.by_ref().take(self.args.batch()));
            if count == 0 {
                return Ok(());
            }
            let Batch { keys, commands, values, .. } = &mut batch;
            let look = &mut |at: usize, value: Option<&[u8]>| {
                let (Some(command), Some(buffer)) = (commands.get(at), values.get_mut(at)) else {
                    return Err(Error::internal("an answer came for no key"));
                };
                check(self.oracle, *command, value)?;
                if command.action == Action::Rmw {
                    buffer.clear();
                    buffer.extend_from_slice(value.unwrap_or_default());
                }
                Ok(())
            };
            self.peer.get_all(keys, look).await?;
            self.write_back(&mut batch).await?;
            self.gauge.count(count);
            self.gauge.record(start);
        }
    }

    async fn write_back(&mut self, batch: &mut Batch) -> Result<()> {
        let Batch { keys, commands, times, values } = batch;
        for (((key, command), times), value) in keys.iter().zip(commands).zip(times).zip(values) {
            if command.action != Action::Rmw {
                continue;
            }
            for _ in 0..*times {
                self.oracle.values.advance(command.index, value)?;
                self.oracle.changed(command.index);
                self.gauge.wrote(KEY_BYTES + value.len());
            }
            self.peer.add(key, value)?;
        }
        self.peer.commit().await
    }

    /// Reads that do not wait for each other.
    async fn run_abreast(&mut self, targets: impl Iterator<Item = Target>) -> Result<()> {
        let mut under_way = FuturesUnordered::new();
        let (this, limit) = (&*self, self.args.in_flight as usize);
        for target in targets {
            if target.command.action == Action::Rmw {
                return Err(Error::invalid("rmw goes one at a time or in batches; give --in-flight 1"));
            }
            let start = this.gauge.tick();
            under_way.push(async move { this.get(target).await.map(|()| start) });
            if under_way.len() >= limit
                && let Some(done) = under_way.next().await
            {
                this.gauge.done(done?);
            }
        }
        while let Some(done) = under_way.next().await {
            this.gauge.done(done?);
        }
        Ok(())
    }
}

fn check(oracle: &Oracle, command: Command, value: Option<&[u8]>) -> Result<()> {
    match command.action {
        Action::GetAbsent => oracle.check_absent(command, value),
        _ => oracle.check_value(command, value),
    }
}

fn wrong(index: u64, at: u64) -> Error {
    Error::corruption(format!(
        "the store answered wrongly about map {index}: it ends or differs at entry {at}"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use alluvium_env::ErrorKind;
    use alluvium_state_api::MaxParallelism;
    use clap::Parser;

    use super::*;
    use crate::bench::fold::Fold;
    use crate::bench::peer::{KeyBytes, Look, Place, Show};
    use crate::bench::values::Values;
    use crate::bench::workload::Draw;

    /// What becomes of an answer.
    type Lie = fn(Option<Vec<u8>>) -> Option<Vec<u8>>;

    /// A store that answers as it should but for its `lie`.
    #[derive(Default)]
    struct Liar {
        values: BTreeMap<Vec<u8>, Vec<u8>>,
        lie: Option<Lie>,
    }

    impl Liar {
        fn told(&self, value: Option<&Vec<u8>>) -> Option<Vec<u8>> {
            let value = value.cloned();
            self.lie.map_or_else(|| value.clone(), |lie| lie(value.clone()))
        }
    }

    impl Peer for Liar {
        async fn open(_: &Place) -> Result<Self> {
            Ok(Self::default())
        }

        async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
            self.add(key, value)
        }

        fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
            self.values.insert(key.to_vec(), value.to_vec());
            Ok(())
        }

        async fn commit(&mut self) -> Result<()> {
            Ok(())
        }

        async fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
            Fold::Sum.fold(self.values.entry(key.to_vec()).or_default(), operand);
            Ok(())
        }

        async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
            look(self.told(self.values.get(key.as_slice())).as_deref())
        }

        async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
            keys.iter()
                .enumerate()
                .try_for_each(|(at, key)| look(at, self.told(self.values.get(key.as_slice())).as_deref()))
        }

        async fn scan(&self, prefix: &[u8], look: Show<'_>) -> Result<()> {
            for (key, value) in self.values.iter().filter(|(key, _)| key.starts_with(prefix)) {
                if let Some(value) = self.told(Some(value)) {
                    look(key, &value)?;
                }
            }
            Ok(())
        }

        async fn flush(&mut self) -> Result<()> {
            Ok(())
        }

        async fn close(self) -> Result<()> {
            Ok(())
        }
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    /// Loads 200 keys and asks for 300, with such a lie.
    fn asked(case: &str, lie: Option<Lie>) -> Result<u64> {
        let words = format!("measure {case} --keys 200 --value-bytes 20 --scan-length 10");
        let Line { args } = Line::parse_from(words.split(' '));
        let (keys, gauge) = (Keys::new(200, 1), Gauge::new(Arc::default())?);
        let oracle = Oracle::new(Values::new(20, 1), 200);
        let (mut liar, mut value) = (Liar::default(), Vec::new());
        let entry = |number: u64| {
            let key = args.map_key(&keys, number / 10);
            (number, [key.bytes.as_slice(), &(number % 10).to_be_bytes()].concat())
        };
        let single = |index| (index, keys.key(index).bytes.to_vec());
        for (index, key) in (0..args.single_keys()).map(single).chain((0..args.maps() * 10).map(entry)) {
            oracle.values.write(index, 0, &mut value);
            liar.add(&key, &value)?;
        }
        liar.lie = lie;
        let draw = Draw::new(&args, MaxParallelism::DEFAULT.range_of(0, 1)?);
        let mut driver = Driver::new(&mut liar, &oracle, &gauge, &args);
        futures_util::FutureExt::now_or_never(driver.run(draw.take(300))).unwrap()?;
        Ok(oracle.verified())
    }

    const CASES: [&str; 7] = [
        "get map",
        "get map --batch 7",
        "get map --in-flight 4",
        "rmw map",
        "rmw map --batch 7",
        "map-scan map",
        "mixed map",
    ];

    #[test]
    fn right_answers_are_compared_and_accepted() {
        for case in CASES {
            assert!(asked(case, None).unwrap() > 0, "{case}");
        }
    }

    #[test]
    fn wrong_answers_of_every_kind_end_every_case() {
        let lies: [Lie; 3] = [
            |_| None,
            |value| value.map(|value| value.iter().map(|byte| byte ^ 1).collect()),
            |value| value.map(|value| value[..value.len() / 2].to_vec()),
        ];
        for case in CASES {
            for lie in lies {
                assert_eq!(asked(case, Some(lie)).unwrap_err().kind(), ErrorKind::Corruption, "{case}");
            }
        }
    }
}
