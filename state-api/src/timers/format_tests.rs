//! Holds `docs/formats/timers.md` to the code: its worked bytes are what a registration writes and a queue reads.
use std::rc::Rc;

use alluvium_env::ErrorKind;

use super::{KeyLength, TimeDomain, Timestamp, timer_within};
use crate::{
    Codec, Context, HeapBackend, KeyCodec, KeyGroup, KeyGroupRange, MaxParallelism, RecordBatchBuilder,
    RecordSlot, StateId, TaskContext, key_hash,
};

const PAGE: &str = include_str!("../../../docs/formats/timers.md");
const GROUPS: KeyGroupRange = KeyGroupRange { start: 258, end: 259 };

/// The bytes of a fenced block; everything behind `│` is for people.
fn worked(name: &str) -> Vec<u8> {
    let fence = format!("```worked {name}\n");
    let block = PAGE.split(&fence).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn task() -> Rc<TaskContext<()>> {
    let task = Rc::new(TaskContext::new(Box::new(HeapBackend::default())));
    task.open_timers(GROUPS).unwrap();
    task
}

#[test]
fn the_worked_timer_is_what_a_registration_writes_and_a_queue_reads() {
    let mut ox = Vec::new();
    "ox".encode_key(&mut ox);
    let mut batch = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    batch.push_in_group(KeyGroup(258), key_hash(&ox), &ox, &[]);
    let written = task();
    let ctx = Context::new(Rc::clone(&written), Rc::new(batch.finish()), 0, RecordSlot(0));
    ctx.in_namespace(&-2_i16).register_event_timer(Timestamp(1000)).unwrap();
    let mut scan = written.with_backend(|backend| backend.scan(StateId(0))).unwrap();
    let (key, value) = (worked("key"), worked("value"));
    assert_eq!(scan.next_entry().unwrap(), Some((key.as_slice(), value.as_slice())));

    let read = task();
    read.with_backend(|backend| backend.put(&key, &value)).unwrap();
    read.advance_watermark(Timestamp(999));
    assert!(read.take_due_timers(TimeDomain::EventTime, 9).unwrap().0.is_empty());
    read.advance_watermark(Timestamp(1000));
    let (due, more) = read.take_due_timers(TimeDomain::EventTime, 9).unwrap();
    assert_eq!((due.len(), more), (1, false));
    let ctx = Context::of_batch(&read, due).next().unwrap();
    let timer = ctx.begin_timer().unwrap().unwrap();
    assert_eq!((ctx.key::<str>().unwrap().as_str(), timer.time()), ("ox", Timestamp(1000)));
    assert_eq!((timer.domain(), timer.namespace::<i16>().unwrap()), (TimeDomain::EventTime, -2));
    assert!(timer.namespace::<i32>().is_err(), "it is in a namespace of another type");
}

#[test]
fn what_is_no_timer_is_corruption() {
    let (key, value) = (worked("key"), worked("value"));
    assert!(timer_within(&key[..11]).is_err_and(|error| error.kind() == ErrorKind::Corruption));
    assert!(KeyLength::decode(&value[..3]).is_err_and(|error| error.kind() == ErrorKind::Corruption));
    let task = task();
    task.with_backend(|backend| backend.put(&key, &7_u32.to_le_bytes())).unwrap();
    task.advance_watermark(Timestamp::MAX);
    let refused = task.take_due_timers(TimeDomain::EventTime, 9).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corruption);
}
