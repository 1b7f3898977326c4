//! A result, from outside: what must hold before a store installs it.
//!
//! **Invariants**: of what a result says everything is checked that can be without reading the tables' data: names, order,
//! ranges, counts, and on the store the tail of each table, whose checksum covers what the result says of it. What a
//! compactor put into the blocks is believed, as it is at home: blocks have checksums and are checked when they are read.
use std::sync::Arc;

use alluvium_env::{Error, HashMap, Result};
use futures_util::future::try_join_all;

use super::format::JobResult;
use super::objects::Objects;
use crate::compaction::{CompactionJob, Written, WrittenTable};
use crate::fetch::Fetcher;
use crate::key_range::{KeyRange, is_before_end};
use crate::store::{TableRecord, ValueFileRecord};
use crate::table::{Held, TableFile};
use crate::values::ValueFile;

/// What has been reserved for a job, by name.
pub(super) type Outputs = HashMap<String, Held>;

/// Takes over what a result names, out of what was reserved.
///
/// # Errors
/// `Corruption` for a result that cannot be true.
pub(super) fn accept(
    job: &CompactionJob,
    result: JobResult,
    outputs: &mut Outputs,
) -> Result<Vec<Arc<TableFile>>> {
    check_counts(job, &result.tables)?;
    let known: HashMap<&str, &Arc<ValueFile>> = job
        .compaction
        .inputs()
        .flat_map(|table| table.values())
        .map(|share| (share.file.name(), &share.file))
        .collect();
    let mut open = |record: &ValueFileRecord| match known.get(record.name.as_str()) {
        Some(file) if file.meta() == record.meta()? && !job.separation.garbage.contains(&file.id) => {
            Ok(Arc::clone(file))
        }
        _ => {
            let held = take(outputs, &record.name, "val")?;
            record.open(job.naming.next_id(), held)
        }
    };
    let values = result.value_files.iter().map(&mut open).collect::<Result<Vec<_>>>()?;
    let mut tables: Vec<Arc<TableFile>> = Vec::with_capacity(result.tables.len());
    for record in result.tables {
        let held = take(outputs, &record.name, "sst")?;
        let table = record.open(&KeyRange::default(), &values, job.naming.next_id(), held)?;
        check_place(job, tables.last().map(Arc::as_ref), &table)?;
        tables.push(Arc::new(table));
    }
    Ok(tables)
}

fn take(outputs: &mut Outputs, name: &str, kind: &str) -> Result<Held> {
    let is_of_kind = name.rsplit_once('.').is_some_and(|(_, ending)| ending == kind);
    let held = if is_of_kind { outputs.remove(name) } else { None };
    held.ok_or_else(|| lie(format!("it names {name}, which was not reserved for it, or twice")))
}

#[cold]
fn lie(what: impl std::fmt::Display) -> Error {
    Error::corruption(format!("a compaction's result cannot be true: {what}"))
}

/// Whether a table has keys of the job, behind those of the table before it.
fn check_place(job: &CompactionJob, last: Option<&TableFile>, table: &TableFile) -> Result<()> {
    let (keys, name) = (table.keys(), table.name());
    if keys.is_empty() || *keys != table.meta.keys {
        return Err(lie(format!("{name} has no keys, or is clipped")));
    }
    let mut inputs = job.compaction.inputs().map(|input| input.keys());
    let Some(mut hull) = inputs.next().cloned() else { return Err(lie("there was nothing to compact")) };
    inputs.for_each(|keys| hull.extend(keys));
    if !hull.covers(keys) {
        return Err(lie(format!("{name} has keys that no input has")));
    }
    if last.is_some_and(|last| last.meta.keys.end > keys.start || last.meta.keys.end.is_empty()) {
        return Err(lie(format!("{name} is out of order")));
    }
    let records = |share: &crate::values::ValueShare| share.bytes <= share.file.meta().data_bytes;
    if !table.values().iter().all(records) {
        return Err(lie(format!("{name} takes more of a value file than there is")));
    }
    Ok(())
}

/// Whether so many entries can be left: no more than came in, and where nothing hides, expires or is clipped, no fewer than
/// the largest run has.
fn check_counts(job: &CompactionJob, tables: &[TableRecord]) -> Result<()> {
    let left: u64 = tables.iter().fold(0, |sum, table| sum.saturating_add(table.entries));
    let inputs = || job.compaction.inputs();
    let most: u64 = inputs().map(|table| table.meta.entries).sum();
    let keeps = |table: &Arc<TableFile>| {
        let meta = &table.meta;
        meta.deletes == 0 && meta.deleted_ranges == 0 && meta.ages.expiring == 0 && table.keys() == &meta.keys
    };
    let runs = job.compaction.upper.iter().chain([&job.compaction.lower]);
    let largest = runs.map(|run| run.iter().map(|table| table.meta.entries).sum::<u64>()).max().unwrap_or(0);
    let least = if inputs().all(keeps) { largest } else { 0 };
    if (least..=most).contains(&left) {
        return Ok(());
    }
    Err(lie(format!("{left} entries are left, where {least} to {most} can be")))
}

/// Looks at the outputs where they lie, and keeps their tails.
///
/// # Errors
/// `Corruption` if an object is not what the result says, `Unavailable` from the store.
pub(super) async fn look(fetcher: &Fetcher, tables: Vec<Arc<TableFile>>) -> Result<Written> {
    let objects = Objects::new(fetcher.store());
    let files: HashMap<_, _> =
        tables.iter().flat_map(|table| table.values()).map(|share| (share.file.id, &share.file)).collect();
    try_join_all(files.values().map(|file| async {
        let (found, expected) = (objects.size(file.name()).await?, file.meta().size_bytes);
        if found == Some(expected) {
            return Ok(());
        }
        Err(lie(format!("value file {} has not its {expected} bytes", file.name())))
    }))
    .await?;
    let tails = try_join_all(tables.iter().map(|table| fetcher.whole_tail(table))).await?;
    for (table, tail) in tables.iter().zip(&tails) {
        let (says, has) = (&table.meta, &tail.properties);
        let is_true = says.entries == has.entries
            && says.deletes == has.deletes
            && says.deleted_ranges == tail.deleted.len() as u64
            && says.ages == has.ages.clone().unwrap_or_default();
        if !is_true {
            return Err(lie(format!("{} has other properties", table.name())));
        }
        // What lies outside would be hidden.
        let (keys, index) = (&says.keys, &tail.index);
        let last = index.blocks().saturating_sub(1);
        let starts_late = last > 0 && keys.start.as_slice() >= index.separator(1);
        let ends_early = index.blocks() > 0 && !is_before_end(index.separator(last), &keys.end);
        if starts_late || ends_early {
            return Err(lie(format!("{} has keys outside of its bounds", table.name())));
        }
    }
    let table = |file: &Arc<TableFile>| WrittenTable { file: Arc::clone(file), blocks: Vec::new() };
    Ok(Written { tables: tables.iter().map(table).collect(), ..Written::default() })
}
