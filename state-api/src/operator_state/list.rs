//! Lists of an operator: dealt out after a restore, or shown to every subtask.
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use alluvium_env::Result;
use bytes::Bytes;

use super::registry::{Content, Size};
use super::{OperatorScope, OperatorStateKind, OperatorStates};
use crate::{Codec, Schema};

/// A subtask's elements, encoded.
struct Elements {
    name: String,
    size: Rc<Size>,
    all: RefCell<Vec<Bytes>>,
}

fn bytes_of(elements: &[Bytes]) -> usize {
    elements.iter().map(Bytes::len).sum()
}

fn encode<'t, T: Codec + 't>(elements: impl IntoIterator<Item = &'t T>) -> Vec<Bytes> {
    let encode = |element: &T| {
        let mut bytes = Vec::new();
        element.encode(&mut bytes);
        Bytes::from(bytes)
    };
    elements.into_iter().map(encode).collect()
}

fn decode<T: Codec>(elements: &[Bytes]) -> Result<Vec<T>> {
    elements.iter().map(|element| T::decode(element)).collect()
}

impl Elements {
    fn new(name: &str, size: &Rc<Size>, elements: Vec<Bytes>) -> Self {
        size.restored(bytes_of(&elements));
        Self { name: name.to_owned(), size: Rc::clone(size), all: RefCell::new(elements) }
    }

    fn add(&self, added: Vec<Bytes>) -> Result<()> {
        self.size.change(&self.name, (0, bytes_of(&added)))?;
        self.all.borrow_mut().extend(added);
        Ok(())
    }

    fn replace(&self, by: Vec<Bytes>) -> Result<()> {
        let mut all = self.all.borrow_mut();
        self.size.change(&self.name, (bytes_of(&all), bytes_of(&by)))?;
        *all = by;
        Ok(())
    }
}

impl Content for Elements {
    fn entries(&self) -> (Vec<Bytes>, Vec<Bytes>) {
        (Vec::new(), self.all.borrow().clone())
    }
}

/// What both lists of an operator have in common: the subtask's own elements.
macro_rules! own_elements {
    ($list:ident) => {
        impl<T: Codec> $list<T> {
            /// The subtask's own elements, in the order they were added.
            ///
            /// # Errors
            /// `Corruption` if an element cannot be decoded.
            pub fn get(&self) -> Result<Vec<T>> {
                decode(&self.own.all.borrow())
            }

            /// Appends an element. Done when it returns.
            ///
            /// # Errors
            /// `Invalid` if the operator states of the subtask would pass [`OperatorStates::MAX_BYTES`].
            pub fn add(&self, scope: impl OperatorScope, element: &T) -> Result<()> {
                scope.writes();
                self.own.add(encode([element]))
            }

            /// Replaces the subtask's own elements; by none, that is a clear. Done when it returns.
            ///
            /// # Errors
            /// As for `add`; then nothing is replaced.
            pub fn update<'t>(
                &self,
                scope: impl OperatorScope,
                elements: impl IntoIterator<Item = &'t T>,
            ) -> Result<()>
            where
                T: 't,
            {
                scope.writes();
                self.own.replace(encode(elements))
            }
        }
    };
}

/// A list of a subtask whose elements are dealt out after a restore: each goes to one subtask. As long as the parallelism
/// stays the same each subtask keeps its own. Opened by [`States::operator_list`](crate::States::operator_list).
///
/// ```
/// # use alluvium_state_api::*;
/// /// Numbers its records, whatever their keys. After a rescale the numbers of all subtasks add up as before.
/// struct Numbered { done: OperatorListState<u64> }
/// impl KeyedProcess for Numbered {
///     type In = ();
///     type Out = u64;
///     async fn process(&self, _: (), ctx: &Context<u64>) -> Result<()> {
///         let done = self.done.get()?.into_iter().sum::<u64>() + 1;
///         self.done.update(ctx, [&done])?;
///         ctx.emit(done);
///         Ok(())
///     }
/// }
/// # let open = |states: &States<'_>| Ok(Numbered { done: states.operator_list("done")? });
/// # assert_eq!(harness::run(open, [("ox", ()), ("ant", ())])?, [1, 2]);
/// # Ok::<(), Error>(())
/// ```
pub struct OperatorListState<T> {
    own: Rc<Elements>,
    element: PhantomData<fn() -> T>,
}

own_elements!(OperatorListState);

impl<T: Codec> OperatorListState<T> {
    pub(crate) fn open(states: &OperatorStates, name: &str) -> Result<Self> {
        let kind = (OperatorStateKind::List, Schema::of::<T>());
        let own = states.open(name, kind, |part| Ok(Elements::new(name, states.size(), part.elements)))?;
        Ok(Self { own, element: PhantomData })
    }
}

/// A list of a subtask that all subtasks see after a restore. Each then begins with an empty list of its own: it takes what
/// is its business from [`UnionListState::restored`] and adds that, while it is opened, or the next checkpoint will not have
/// it. Opened by [`States::union_list`](crate::States::union_list).
///
/// ```
/// # use alluvium_state_api::*;
/// fn open(states: &States<'_>, mine: impl Fn(&(String, u64)) -> bool) -> Result<UnionListState<(String, u64)>> {
///     let positions = states.union_list("positions")?;
///     let restored = positions.restored()?;
///     positions.update(states, restored.iter().filter(|position| mine(position)))?;
///     Ok(positions)
/// }
/// ```
pub struct UnionListState<T> {
    own: Rc<Elements>,
    restored: Vec<Bytes>,
    element: PhantomData<fn() -> T>,
}

own_elements!(UnionListState);

impl<T: Codec> UnionListState<T> {
    pub(crate) fn open(states: &OperatorStates, name: &str) -> Result<Self> {
        let (kind, mut restored) = ((OperatorStateKind::Union, Schema::of::<T>()), Vec::new());
        let own = states.open(name, kind, |part| {
            restored = part.elements;
            Ok(Elements::new(name, states.size(), Vec::new()))
        })?;
        Ok(Self { own, restored, element: PhantomData })
    }

    /// The elements that all subtasks had in the checkpoint from which the job went on; none if it went on from nothing.
    ///
    /// # Errors
    /// `Corruption` if an element cannot be decoded.
    pub fn restored(&self) -> Result<Vec<T>> {
        decode(&self.restored)
    }
}
