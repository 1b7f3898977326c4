//! What the retained checkpoints of a state name: each object once, with what they say of it.
use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_checkpoint::{PageReader, RetainedCheckpoints};
use alluvium_env::{Error, ErrorKind, IoRuntime, Result};
use alluvium_forst::claimed_objects;
use alluvium_forst::inspect::{ClaimedObject, Finding, ReadAt, Report};
use alluvium_state_api::{CheckpointId, RestoredPart};
use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _};

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
            for subtask in &checkpoint.subtasks {
                let part = RestoredPart {
                    key_groups: subtask.key_groups,
                    backend: subtask.backend.clone(),
                    payload: subtask.payload.clone(),
                };
                let claims = match claimed_objects(&part, &mut |name, _| io.block_on(read(store, name))) {
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
