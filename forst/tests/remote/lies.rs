//! Results that are broken, or that cannot be true, are not installed.
use std::sync::Arc;

use object_store::PutPayload;
use prost::Message;

use crate::common::changes::Model;
use crate::process::{Fate, Process, is_of};
use crate::world::World;

/// The result, by the page that describes it.
#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(fixed32, tag = "1")]
    job_crc: u32,
    #[prost(message, repeated, tag = "2")]
    tables: Vec<Table>,
    #[prost(message, repeated, tag = "3")]
    value_files: Vec<Values>,
}

#[derive(Clone, PartialEq, Message)]
struct Table {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, tag = "3")]
    size_bytes: u64,
    #[prost(uint64, tag = "4")]
    tail_bytes: u64,
    #[prost(bytes = "vec", tag = "5")]
    start: Vec<u8>,
    #[prost(bytes = "vec", tag = "11")]
    end: Vec<u8>,
    #[prost(uint64, tag = "7")]
    entries: u64,
    #[prost(uint64, tag = "8")]
    deletes: u64,
    #[prost(bytes = "vec", tag = "10")]
    clip_end: Vec<u8>,
    #[prost(fixed64, tag = "13")]
    content_hash: u64,
    #[prost(message, repeated, tag = "16")]
    values: Vec<Share>,
}

#[derive(Clone, PartialEq, Message)]
struct Share {
    #[prost(uint32, tag = "1")]
    file: u32,
    #[prost(uint64, tag = "3")]
    bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Values {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    size_bytes: u64,
    #[prost(uint64, tag = "3")]
    data_bytes: u64,
}

fn bytes_of(payload: &PutPayload) -> Vec<u8> {
    payload.iter().flatten().copied().collect()
}

/// What another compactor would have told, framed as it should be.
fn retold(payload: &PutPayload, lie: impl Fn(&mut Told)) -> Vec<u8> {
    let bytes = bytes_of(payload);
    let mut told = Told::decode(&bytes[9..bytes.len() - 4]).unwrap();
    assert!(told.tables.len() > 3, "so few tables say little");
    lie(&mut told);
    let mut framed = bytes[..9].to_vec();
    told.encode(&mut framed).unwrap();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &framed) as u32;
    framed.extend_from_slice(&crc.to_le_bytes());
    framed
}

/// Does a job with results retold so; says how the trip ended.
fn trip(what: &str, retell: impl Fn(&PutPayload) -> Vec<u8> + Send + Sync + 'static) -> [u64; 2] {
    let (world, mut model) = (World::new(4096), Model::new());
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    let before = store.counters().compactions;
    let process = Process::with(&world.memory, move |name, payload| {
        if is_of(name, ".result") { Fate::Becomes(retell(payload)) } else { Fate::Goes }
    });
    drop(World::compactor(&process).turn());
    world.until(what, &mut store, |store| store.counters().compactions > before);
    let trips = [world.trips("done"), world.trips("taken back")];
    world.assert_whole(store, &model);
    trips
}

#[test]
fn a_result_that_is_told_faithfully_is_installed() {
    assert_eq!(trip("nothing changed", |payload| retold(payload, |_| {})), [1, 0]);
}

#[test]
fn a_broken_result_is_not_installed() {
    for bit in [3, 70, 100, 1001] {
        let flip = move |payload: &PutPayload| {
            let mut bytes = bytes_of(payload);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        assert_eq!(trip("a flipped bit", flip), [0, 1], "bit {bit}");
    }
    for length in [0, 5, 12, 200] {
        let cut = move |payload: &PutPayload| bytes_of(payload)[..length].to_vec();
        assert_eq!(trip("a cut result", cut), [0, 1], "{length} bytes");
    }
}

#[test]
fn a_result_that_cannot_be_true_is_not_installed() {
    type Lie = (&'static str, fn(&mut Told));
    let lies: [Lie; 16] = [
        ("another job's", |told| told.job_crc ^= 1),
        ("a name of its own", |told| told.tables[0].name = "state/00000001/0000/000000000001.sst".to_owned()),
        ("a name that is no table's", |told| {
            told.tables[0].name = told.tables[0].name.replace(".sst", ".val");
        }),
        ("a name twice", |told| told.tables[1].name = told.tables[0].name.clone()),
        ("tables out of order", |told| told.tables.swap(0, 1)),
        ("a table twice", |told| told.tables.insert(1, told.tables[0].clone())),
        ("keys that no input has", |told| told.tables[0].start = b"a".to_vec()),
        ("no end of keys", |told| told.tables.last_mut().unwrap().end.clear()),
        ("no keys", |told| told.tables[0].end = told.tables[0].start.clone()),
        ("an end before its last block", |told| {
            told.tables[0].end = [&told.tables[0].start[..], &[0]].concat();
        }),
        ("a start behind its first block", |told| {
            let end = &told.tables[1].end;
            told.tables[1].start = end[..end.len() - 1].to_vec();
        }),
        ("a clip", |told| told.tables[0].clip_end = told.tables[0].end[..3].to_vec()),
        ("more entries than came in", |told| told.tables[0].entries += 1 << 40),
        ("entries that the table does not have", |told| told.tables[0].entries -= 1),
        ("another size", |told| told.tables[1].size_bytes -= 1),
        ("a value file that is not there", |told| told.tables[1].values.push(Share { file: 0, bytes: 1 })),
    ];
    for (what, lie) in lies {
        assert_eq!(trip(what, move |payload| retold(payload, lie)), [0, 1], "{what}");
    }
    let with_values = |told: &mut Told| {
        let name = told.tables[0].name.replace(".sst", ".val");
        told.value_files.push(Values { name, size_bytes: 10, data_bytes: 5 });
    };
    let framed = Arc::new(move |payload: &PutPayload| retold(payload, with_values));
    assert_eq!(trip("a value file of its own", move |payload| framed(payload)), [0, 1]);
}
