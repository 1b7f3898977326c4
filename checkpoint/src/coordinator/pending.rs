//! A checkpoint that waits for acknowledgements.
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_state_api::CheckpointId;
use bytes::Bytes;

use super::SubtaskAck;
use crate::metadata::SubtaskMetadata;
use crate::pages::PageRef;
use crate::settings::JobShape;

pub(super) struct Pending {
    pub(super) id: CheckpointId,
    /// On the monotonic clock.
    pub(super) started: Duration,
    sources: Vec<Option<Bytes>>,
    subtasks: Vec<Option<SubtaskMetadata>>,
    figures: Figures,
}

/// Sums over the subtasks.
#[derive(Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) sync_micros: u64,
    pub(super) uploaded_bytes: u64,
    pub(super) inputs_kept: u64,
}

impl Pending {
    pub(super) fn new(id: CheckpointId, started: Duration, shape: &JobShape) -> Self {
        let (sources, subtasks) = (vec![None; shape.sources], vec![None; shape.subtasks]);
        Self { id, started, sources, subtasks, figures: Figures::default() }
    }

    /// The first acknowledgement counts.
    pub(super) fn acknowledge_source(&mut self, source: usize, state: Bytes) -> Result<()> {
        let slot = self.sources.get_mut(source);
        let slot = slot.ok_or_else(|| Error::internal(format!("there is no source {source}")))?;
        slot.get_or_insert(state);
        Ok(())
    }

    /// The first acknowledgement counts. The files must be referred to already: the pins end here.
    pub(super) fn acknowledge_subtask(&mut self, subtask: usize, ack: SubtaskAck) -> Result<()> {
        let slot = self.subtasks.get_mut(subtask);
        let slot = slot.ok_or_else(|| Error::internal("there is no such subtask"))?;
        if slot.is_some() {
            return Ok(());
        }
        let SubtaskAck { snapshot, inputs, inputs_count, operator_states, sync_micros } = ack;
        self.figures.sync_micros = self.figures.sync_micros.max(sync_micros);
        self.figures.uploaded_bytes += snapshot.uploaded_bytes;
        self.figures.inputs_kept += inputs_count;
        *slot = Some(SubtaskMetadata {
            key_groups: snapshot.key_groups,
            backend: snapshot.backend.to_owned(),
            payload: snapshot.payload,
            files: snapshot.files,
            pages: snapshot.pages.iter().map(|page| PageRef::of(page.as_ref())).collect(),
            inputs,
            inputs_count,
            operator_states,
        });
        Ok(())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.sources.iter().all(Option::is_some) && self.subtasks.iter().all(Option::is_some)
    }

    /// Who has not acknowledged, for a person.
    pub(super) fn missing(&self) -> String {
        let absent = |present: Vec<bool>, noun: &str| {
            let indices: Vec<String> =
                (0..).zip(present).filter(|(_, p)| !p).map(|(i, _): (u32, _)| i.to_string()).collect();
            if indices.is_empty() { None } else { Some(format!("{noun} {}", indices.join(", "))) }
        };
        let sources = absent(self.sources.iter().map(Option::is_some).collect(), "source");
        let subtasks = absent(self.subtasks.iter().map(Option::is_some).collect(), "subtask");
        let parts: Vec<String> = sources.into_iter().chain(subtasks).collect();
        parts.join(" and ")
    }

    /// What was acknowledged, in the order of sources and subtasks.
    pub(super) fn into_parts(self) -> (Vec<Bytes>, Vec<SubtaskMetadata>, Figures) {
        let sources = self.sources.into_iter().flatten().collect();
        (sources, self.subtasks.into_iter().flatten().collect(), self.figures)
    }
}
