//! What the retained checkpoints of a state name: each object once, with what they say of it.
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use alluvium_checkpoint::{PageReader, RetainedCheckpoints};
use alluvium_env::{Error, ErrorKind, HashMap, IoRuntime, Result};
use alluvium_forst::claimed_objects;
use alluvium_forst::inspect::{ClaimedObject, Finding, ReadAt, Report};
use alluvium_state_api::{CheckpointId, RestoredPart};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _};

/// Pages that are read at a time.
const AT_ONCE: usize = 16;

/// An object that checkpoints need.
pub(super) struct Named {
    /// By their lists of files.
    size_bytes: u64,
    /// Oldest first.
    checkpoints: Vec<CheckpointId>,
    /// By their manifests; several where they say different things.
    claims: Vec<ClaimedObject>,
}

/// Objects by name.
#[derive(Default)]
pub(super) struct NamedObjects {
    objects: BTreeMap<String, Named>,
    /// Oldest first.
    retained: Vec<CheckpointId>,
}

impl Named {
    /// The checkpoints, for a message.
    pub(super) fn needed_by(&self) -> String {
        let ids: Vec<String> = self.checkpoints.iter().map(ToString::to_string).collect();
        format!("checkpoint{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
    }

    /// How long it should be.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Compares an object with what is said of it.
    ///
    /// # Errors
    /// What reading the object fails with.
    pub(super) fn check(&self, object: &dyn ReadAt) -> Result<Report<()>> {
        let (expected, found) = (self.size_bytes, object.size_bytes());
        if expected != found {
            let finding = Finding {
                offset: expected.min(found),
                part: "the object".to_owned(),
                expected: format!("{expected} bytes, as {} has it", self.needed_by()),
                found: format!("{found} bytes"),
            };
            return Ok(Report { findings: vec![finding], ..Report::default() });
        }
        let mut all = Report::default();
        for claim in &self.claims {
            let Report { findings, more_findings, .. } = claim.check(object)?;
            all.findings.extend(findings);
            all.more_findings += more_findings;
        }
        Ok(all)
    }
}

/// An object, if it is there.
async fn read(store: &Arc<dyn ObjectStore>, name: &str) -> Result<Option<Bytes>> {
    match async { store.get(&ObjectPath::from(name)).await?.bytes().await }.await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(Error::unavailable(format!("cannot read {name}")).with_source(error)),
    }
}

/// Objects in their order, as far as they are there; some of them are read ahead.
fn contents(
    store: &Arc<dyn ObjectStore>,
    names: impl Iterator<Item = String>,
) -> impl Stream<Item = Result<Option<Bytes>>> {
    let read = move |name: String| async move { read(store, &name).await };
    stream::iter(names).map(read).buffered(AT_ONCE)
}

impl NamedObjects {
    /// Reads the ledger and the manifests of the checkpoints it retains; nothing of a state that has none.
    ///
    /// # Errors
    /// `Corruption` names the ledger's object that is damaged, or the checkpoint whose manifest is.
    pub(super) fn read(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> Result<Self> {
        let mut named = Self::default();
        let mut pages = PageReader::new(Arc::clone(store));
        for checkpoint in RetainedCheckpoints::read(Arc::clone(store), io)?.all() {
            named.retained.push(checkpoint.id);
            let objects = match io.block_on(pages.objects_of(checkpoint)) {
                // It is told when it is looked at itself.
                Err(error) if error.kind() == ErrorKind::Corruption => checkpoint.files().cloned().collect(),
                objects => objects?,
            };
            for file in objects {
                named.add(&file.name, file.size_bytes, checkpoint.id);
            }
            let pages_of_all = checkpoint.pages().map(|page| page.object.name.clone());
            let mut contents = pin!(contents(store, pages_of_all));
            for subtask in &checkpoint.subtasks {
                let own = contents.by_ref().take(subtask.pages.len()).try_collect::<Vec<_>>();
                let pages_of_it = subtask.pages.iter().map(|page| page.object.name.as_str());
                let mut own: HashMap<&str, Option<Bytes>> = pages_of_it.zip(io.block_on(own)?).collect();
                let part = RestoredPart {
                    key_groups: subtask.key_groups,
                    backend: subtask.backend.clone(),
                    payload: subtask.payload.clone(),
                };
                let claims = match claimed_objects(&part, &mut |name, _| Ok(own.remove(name).flatten())) {
                    // What another backend's payload says, only that knows.
                    Err(error) if error.kind() == ErrorKind::Invalid => continue,
                    claims => {
                        claims.map_err(|error| error.context(format!("checkpoint {}", checkpoint.id)))?
                    }
                };
                for claim in claims {
                    let object = named.add(claim.name(), claim.size_bytes(), checkpoint.id);
                    if !object.claims.contains(&claim) {
                        object.claims.push(claim);
                    }
                }
            }
        }
        Ok(named)
    }

    /// Leaves only what one of the checkpoints names.
    ///
    /// # Errors
    /// `Invalid` if that is not retained.
    pub(super) fn keep(&mut self, id: CheckpointId) -> Result<()> {
        if !self.retained.contains(&id) {
            let ids: Vec<String> = self.retained.iter().map(ToString::to_string).collect();
            let there = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
            return Err(Error::invalid(format!("checkpoint {id} is not retained: there are {there}")));
        }
        self.objects.retain(|_, object| object.checkpoints.contains(&id));
        Ok(())
    }

    fn add(&mut self, name: &str, size_bytes: u64, checkpoint: CheckpointId) -> &mut Named {
        let new = || Named { size_bytes, checkpoints: Vec::new(), claims: Vec::new() };
        let object = self.objects.entry(name.to_owned()).or_insert_with(new);
        if object.checkpoints.last() != Some(&checkpoint) {
            object.checkpoints.push(checkpoint);
        }
        object
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Named> {
        self.objects.get(name)
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Named)> {
        self.objects.iter().map(|(name, object)| (name.as_str(), object))
    }

    /// Those of them that checkpoints still need which are retained now.
    ///
    /// # Errors
    /// As [`NamedObjects::read`].
    pub(super) fn still_needed(
        names: Vec<String>,
        store: &Arc<dyn ObjectStore>,
        io: &IoRuntime,
    ) -> Result<Vec<String>> {
        if names.is_empty() {
            return Ok(names);
        }
        let now = Self::read(store, io)?;
        Ok(names.into_iter().filter(|name| now.get(name).is_some()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alluvium_env::{Clock as _, SystemClock};
    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};

    use super::*;

    #[test]
    fn pages_come_in_their_order_and_are_read_several_at_a_time() {
        let (io, inner, clock) = (IoRuntime::new(1).unwrap(), InMemory::new(), SystemClock::new());
        let all: Vec<String> = (0..32).map(|number| format!("{number}.page")).collect();
        for name in all.iter().skip(1) {
            io.block_on(inner.put(&ObjectPath::from(name.as_str()), name.clone().into())).unwrap();
        }
        let wait_get_per_call = Duration::from_millis(50);
        let config = ThrottleConfig { wait_get_per_call, ..ThrottleConfig::default() };
        let store: Arc<dyn ObjectStore> = Arc::new(ThrottledStore::new(inner, config));
        let begun = clock.monotonic();
        let read: Vec<_> =
            io.block_on(contents(&store, all.iter().cloned()).try_collect::<Vec<_>>()).unwrap();
        let took = clock.monotonic().saturating_sub(begun);
        assert!(took < wait_get_per_call * 16, "32 pages took {took:?}, one takes {wait_get_per_call:?}");
        let expected = all.iter().map(|name| (name != "0.page").then(|| Bytes::from(name.clone())));
        assert_eq!(read, expected.collect::<Vec<_>>());
    }
}
