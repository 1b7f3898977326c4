//! Targets of the objects of a compaction elsewhere: a job is opened as a compactor does, a result taken over as an owner does.
use std::sync::{Arc, LazyLock};

use alluvium_env::IoRuntime;
use bytes::Bytes;
use object_store::memory::InMemory;

use super::accept::{Outputs, accept};
use super::describe::{Means, describe};
use super::format::{Beat, Claim, Framed, Job, JobResult, RunRecord};
use crate::ForstSettings;
use crate::fetch::Fetcher;
use crate::fuzzing::{refused, sealed};
use crate::merge::NoMerges;
use crate::naming::Reserved;
use crate::store::{TableRecord, ValueFileRecord, ValueShareRecord};
use crate::table::{Held, KeepAll};

/// Bytes before the message of an object.
const HEAD_BYTES: usize = 9;

/// The message of an object as it is, and of one whose message these bytes are.
fn messages<M: Framed>(bytes: &[u8]) -> impl Iterator<Item = M> {
    let mut framed = M::default().frame().slice(..HEAD_BYTES).to_vec();
    framed.extend_from_slice(bytes);
    [bytes.to_vec(), sealed(&framed)].into_iter().filter_map(|object| refused(M::unframe(&object)))
}

fn means() -> Option<Means> {
    static IO: LazyLock<Option<IoRuntime>> = LazyLock::new(|| IoRuntime::new(1).ok());
    let fetcher =
        Fetcher::creating(Arc::new(InMemory::new()), IO.clone()?, &ForstSettings::default(), "fuzz");
    Some(Means {
        fetcher,
        ownership: Arc::new(KeepAll),
        operators: Arc::new(NoMerges),
        buffer_bytes: 1 << 20,
    })
}

/// A job: what it would take is known before it is opened, and one that opens can be described again.
pub fn job(bytes: &[u8]) {
    for job in messages::<Job>(bytes) {
        let _ = (job.writing_bytes(), job.tail_bytes());
        let Some(means) = means() else { return };
        let Some(opened) = refused(job.open(means)) else { continue };
        let again = describe(&opened, Bytes::new(), Reserved::default());
        assert!(Job::unframe(&again.frame()).is_ok_and(|job| job == again), "what was described is not read");
    }
}

/// A claim, or a sign of life.
pub fn claim(bytes: &[u8]) {
    for claim in messages::<Claim>(bytes) {
        assert!(Claim::unframe(&claim.frame()).is_ok_and(|again| again == claim));
    }
    for beat in messages::<Beat>(bytes) {
        assert!(Beat::unframe(&beat.frame()).is_ok_and(|again| again == beat));
    }
}

const NAME: &str = "state/00000001/0000/0000000000";
/// As the worked job has it.
const INPUT_ENTRIES: u64 = 3;

/// A job much like the page's, with values apart.
fn worked() -> Job {
    let table = TableRecord {
        name: format!("{NAME}02.sst"),
        size_bytes: 400,
        tail_bytes: 300,
        start: b"a".to_vec(),
        end: b"d\0".to_vec(),
        entries: INPUT_ENTRIES,
        deletes: 1,
        values: vec![ValueShareRecord { file: 0, values: 1, bytes: 40 }],
        ..TableRecord::default()
    };
    Job {
        runs: vec![RunRecord { tables: vec![table] }],
        value_files: vec![ValueFileRecord {
            name: format!("{NAME}03.val"),
            size_bytes: 100,
            data_bytes: 80,
            ..ValueFileRecord::default()
        }],
        block_size_bytes: 4096,
        table_size_bytes: 1 << 20,
        ..Job::default()
    }
}

/// A result: what is taken over was reserved, ascends, and is within the inputs' keys.
pub fn result(bytes: &[u8]) {
    for result in messages::<JobResult>(bytes) {
        let Some(Some(job)) = means().map(|means| refused(worked().open(means))) else { return };
        let names = ["05.sst", "06.sst", "07.val"].map(|end| format!("{NAME}{end}"));
        let reserved = |name: &String| (name.clone(), Held::new(name, Arc::new(KeepAll)));
        let mut outputs: Outputs = names.iter().map(reserved).collect();
        let Some(tables) = refused(accept(&job, result, &mut outputs)) else { continue };
        assert!(tables.iter().all(|table| names.iter().any(|name| name == table.name())));
        assert!(tables.iter().map(|table| table.meta.entries).sum::<u64>() <= INPUT_ENTRIES);
        let mut at = &b"a"[..];
        for table in &tables {
            let keys = table.keys();
            let is_within = at <= &keys.start[..] && keys.start < keys.end && keys.end[..] <= b"d\0"[..];
            assert!(is_within, "keys that no input has, or out of order");
            at = &keys.end;
        }
    }
}
