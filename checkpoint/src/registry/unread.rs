//! Pages of former attempts: what they name is read in the background, and until it is known nothing is deleted.
//!
//! A restart begins with what checkpoints name themselves. A file that only a page names is unused as far as the table knows, so
//! whatever looks unused waits until the last page is read, and is looked at again.
//!
//! **Failure**: a page that could not be read is tried again after the next checkpoint. As long as a checkpoint names it, nothing
//! is deleted: that costs bytes. Once none does, one that is missing or damaged is given up, and what only it named is left
//! to the next attempt's sweep, which reads no page that no checkpoint names.
use std::sync::Weak;

use alluvium_env::{ErrorKind, Result};
use alluvium_state_api::{CheckpointId, FileRef};
use futures_util::{StreamExt, stream};

use super::{SharedFileRegistry, Table};
use crate::metadata::CheckpointMetadata;
use crate::objects::Objects;
use crate::pages;

/// A page that is named, and where it is.
#[derive(Clone)]
pub(super) struct Unread {
    page: FileRef,
    objects: Objects,
}

impl SharedFileRegistry {
    /// A checkpoint that was restored names files and pages; those are to be read from `objects`.
    pub(crate) fn refer_restored(
        &self,
        checkpoint: &CheckpointMetadata,
        id: CheckpointId,
        objects: &Objects,
    ) {
        for subtask in &checkpoint.subtasks {
            self.refer(id, &subtask.files, &[]);
            subtask.pages.iter().for_each(|page| self.refer_unread(id, &page.object, objects));
        }
    }

    pub(super) fn refer_unread(&self, id: CheckpointId, page: &FileRef, objects: &Objects) {
        let mut table = self.lock();
        table.refer_from(id, &page.name);
        let unread = Unread { page: page.clone(), objects: objects.clone() };
        table.unread.insert(page.name.clone(), unread);
    }

    /// Reads in the background what is not read yet, unless that is being done.
    pub(crate) fn read_pages(&self) {
        let waiting: Vec<Unread> = {
            let mut table = self.lock();
            if table.unread.is_empty() || std::mem::replace(&mut table.is_reading, true) {
                return;
            }
            table.unread.values().cloned().collect()
        };
        // A job that has ended is not kept alive by its pages.
        let this = Weak::clone(&self.this);
        self.deleter.read(async move {
            let reads = stream::iter(waiting).map(|Unread { page, objects }| async move {
                let read = pages::read(&objects, &page).await;
                (page.name, read)
            });
            let mut reads = reads.buffered(pages::AT_ONCE);
            while let Some((name, read)) = reads.next().await {
                let Some(registry) = this.upgrade() else { return };
                registry.learn(&name, read);
            }
            if let Some(registry) = this.upgrade() {
                registry.lock().is_reading = false;
            }
        });
    }

    /// What a page names is known, or cannot be.
    fn learn(&self, name: &str, read: Result<Vec<FileRef>>) {
        let mut table = self.lock();
        if !table.unread.contains_key(name) {
            return;
        }
        let place = table.places.get(name).copied();
        let referred = place.filter(|place| table.at(*place).references > 0);
        match (read, referred) {
            (Ok(files), Some(place)) => {
                let named = files.iter().map(|file| table.refer(&file.name)).collect();
                table.pages.insert(place, named);
            }
            // The last checkpoint that named it went meanwhile.
            (Ok(files), None) => table.parked.extend(files.into_iter().map(|file| file.name)),
            (Err(error), None) if error.kind() == ErrorKind::Corruption => {}
            (Err(_), _) => return,
        }
        table.unread.remove(name);
        let unused = table.unparked();
        drop(table);
        self.deleter.delete(unused);
    }
}

impl Table {
    /// What of this may be deleted now; the rest waits.
    pub(super) fn released(&mut self, mut unused: Vec<String>) -> Vec<String> {
        if self.unread.is_empty() {
            return unused;
        }
        self.parked.append(&mut unused);
        unused
    }

    /// What has waited and may be deleted.
    pub(super) fn unparked(&mut self) -> Vec<String> {
        if !self.unread.is_empty() {
            return Vec::new();
        }
        let mut names = std::mem::take(&mut self.parked);
        names.retain(|name| !self.places.contains_key(name.as_str()));
        names.sort_unstable();
        names.dedup();
        names
    }
}
