//! All operator states of a subtask: those that its operator has opened, and those of the checkpoint that it has not.
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use alluvium_env::{Error, Result};
use bytes::Bytes;

use super::{OperatorStateKind, OperatorStatePart};
use crate::context::dropped_and_opened;
use crate::{Schema, StoredSchema};

/// The bytes that the operator states of a subtask take, and their limit.
#[derive(Debug)]
pub(super) struct Size {
    bytes: Cell<usize>,
    max_bytes: Cell<usize>,
}

impl Default for Size {
    fn default() -> Self {
        Self { bytes: Cell::new(0), max_bytes: Cell::new(OperatorStates::MAX_BYTES) }
    }
}

impl Size {
    /// What a restore has brought counts, and is never refused: fewer subtasks may get more than each could write.
    pub(super) fn restored(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// A state shrinks by so many bytes.
    pub(super) fn shrink(&self, removed: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(removed));
    }

    /// A state shrinks by so many bytes and grows by so many.
    ///
    /// # Errors
    /// `Invalid` if it would grow past the limit; then nothing has changed.
    pub(super) fn change(&self, state: &str, (removed, added): (usize, usize)) -> Result<()> {
        let size = (self.bytes.get() + added).saturating_sub(removed);
        let max = self.max_bytes.get();
        if added > removed && size > max {
            let way_out = if max < OperatorStates::MAX_BYTES {
                "raise the job's `operator_state_bytes`"
            } else {
                "every checkpoint writes all of them, so keep what is large in keyed state"
            };
            return Err(Error::invalid(format!(
                "state {state} would take the operator states of this subtask to {size} bytes, and they may have {max}: \
                 {way_out}"
            )));
        }
        self.bytes.set(size);
        Ok(())
    }
}

/// Why what a checkpoint has cannot be opened; `None` if it can.
fn difference(part: &OperatorStatePart, kind: OperatorStateKind, schema: &Schema) -> Option<String> {
    let name = &part.name;
    if part.kind != kind {
        let (stored, opened) = (part.kind.name(), kind.name());
        return Some(format!(
            "operator state {name} was stored as {stored} and cannot be opened as {opened}"
        ));
    }
    part.schema.difference(name, schema).map(|difference| format!("operator {difference}"))
}

/// What an opened state adds to a checkpoint.
pub(super) trait Content {
    /// Its keys, if it has any, and its elements.
    fn entries(&self) -> (Vec<Bytes>, Vec<Bytes>);
}

struct Opened {
    name: String,
    kind: OperatorStateKind,
    schema: StoredSchema,
    is_restored: bool,
    content: Rc<dyn Content>,
}

/// The operator states of one subtask: what belongs to no key. Each lies in memory and goes into every checkpoint whole, in the
/// checkpoint's own entry, so all together are [bounded](Self::MAX_BYTES).
///
/// | state | after a restore, at any parallelism, a subtask has | written by |
/// |---|---|---|
/// | [`OperatorListState`](crate::OperatorListState) | its share of all subtasks' elements, which are dealt out one after the other | records; while it is opened |
/// | [`UnionListState`](crate::UnionListState) | what all subtasks had, to choose from; its own list is empty | records; while it is opened |
/// | [`BroadcastState`](crate::BroadcastState) | the same map as all others | [`BroadcastProcess`](crate::BroadcastProcess) only |
#[derive(Default)]
pub struct OperatorStates {
    restored: RefCell<Vec<OperatorStatePart>>,
    opened: RefCell<Vec<Opened>>,
    /// How states that were opened are not as the checkpoint has them.
    differing: RefCell<Vec<String>>,
    /// Names of states that are given up, if there are any.
    given_up: RefCell<Vec<String>>,
    size: Rc<Size>,
}

impl OperatorStates {
    /// What the keys and elements of a subtask's operator states may take, unless its job has less for them.
    pub const MAX_BYTES: usize = 8 << 20;
    /// They are held as values and as the bytes that a checkpoint writes, so in memory they take so many times as much.
    pub const COPIES: usize = 2;

    /// Takes what a checkpoint hands out to the subtask.
    pub(crate) fn restore(&self, parts: Vec<OperatorStatePart>) {
        self.restored.replace(parts);
    }

    /// From now on they may take no more than this.
    pub(crate) fn limit(&self, max_bytes: usize) {
        self.size.max_bytes.set(max_bytes);
    }

    pub(super) fn size(&self) -> &Rc<Size> {
        &self.size
    }

    /// Opens a state: `make` makes its content of what the checkpoint has. If that does not fit the state it begins empty, until
    /// [`OperatorStates::differences`] says so.
    pub(super) fn open<C: Content + 'static>(
        &self,
        name: &str,
        (kind, schema): (OperatorStateKind, Schema),
        make: impl FnOnce(OperatorStatePart) -> Result<C>,
    ) -> Result<Rc<C>> {
        if self.opened.borrow().iter().any(|opened| opened.name == name) {
            return Err(Error::invalid(format!(
                "operator state {name} is opened twice; give each state its own name"
            )));
        }
        if self.given_up.borrow().iter().any(|given_up| given_up == name) {
            return Err(dropped_and_opened("operator state", name));
        }
        let fits = |part: &OperatorStatePart| match difference(part, kind, &schema) {
            Some(difference) => {
                self.differing.borrow_mut().push(difference);
                false
            }
            None => true,
        };
        let restored = self.take(name).filter(fits);
        let is_restored = restored.is_some();
        let mut part = restored.unwrap_or_else(|| OperatorStatePart {
            name: name.to_owned(),
            kind,
            schema: StoredSchema::default(),
            keys: Vec::new(),
            elements: Vec::new(),
        });
        part.schema.open(name, &schema)?;
        let schema = part.schema.clone();
        let content = Rc::new(make(part)?);
        let (name, shared) = (name.to_owned(), Rc::clone(&content) as _);
        self.opened.borrow_mut().push(Opened { name, kind, schema, is_restored, content: shared });
        Ok(content)
    }

    /// Gives up a state of the checkpoint.
    pub(crate) fn drop_state(&self, name: &str) {
        self.take(name);
        self.given_up.borrow_mut().push(name.to_owned());
    }

    /// Takes a state of the checkpoint that is not opened yet.
    fn take(&self, name: &str) -> Option<OperatorStatePart> {
        let mut restored = self.restored.borrow_mut();
        let found = restored.iter().position(|part| part.name == name)?;
        Some(restored.swap_remove(found))
    }

    /// Has a state of the checkpoint under another name. Nothing happens if there is none, or one of the other name.
    ///
    /// # Errors
    /// `Invalid` if it is open already.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut restored = self.restored.borrow_mut();
        if restored.iter().any(|part| part.name == to) {
            return Ok(());
        }
        if let Some(part) = restored.iter_mut().find(|part| part.name == from) {
            to.clone_into(&mut part.name);
        } else if self.opened.borrow().iter().any(|opened| opened.name == from && opened.is_restored) {
            return Err(Error::invalid(format!(
                "operator state {to} is said to have been {from}, which is open under that name already: open {to} first"
            )));
        }
        Ok(())
    }

    /// To be called when an operator has opened its states: how the checkpoint's differ.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut differences = self.differing.borrow().clone();
        let restored = self.restored.borrow();
        let mut left: Vec<&str> = restored.iter().map(|part| part.name.as_str()).collect();
        left.sort_unstable();
        differences.extend(left.iter().map(|name| format!("operator state {name} is not opened")));
        differences
    }

    /// What a checkpoint is to hold. Broadcast states are the same on all subtasks.
    pub(crate) fn snapshot(&self) -> Vec<OperatorStatePart> {
        let opened = self.opened.borrow();
        let parts = opened.iter().map(|opened| {
            let (keys, elements) = opened.content.entries();
            let (name, schema) = (opened.name.clone(), opened.schema.clone());
            OperatorStatePart { name, kind: opened.kind, schema, keys, elements }
        });
        parts.collect()
    }
}
