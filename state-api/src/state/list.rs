//! Elements in the order they were added.
use std::marker::PhantomData;

use alluvium_env::Result;

use super::{handle, merging};
use crate::merge::push_element;
use crate::{Codec, Context, KeyCodec, Scope, StateFuture, StateId, list_elements};

/// A list a key and namespace. An append never reads the list (design D7); with a TTL, each element lives on its own.
///
/// ```
/// # use alluvium_state_api::*;
/// /// Emits three at a time.
/// struct ByThree { waiting: ListState<String> }
/// impl KeyedProcess for ByThree {
///     type In = String;
///     type Out = Vec<String>;
///     async fn process(&self, name: String, ctx: &Context<Self::Out>) -> Result<()> {
///         self.waiting.add(ctx, &name)?;
///         let waiting = self.waiting.get(ctx).await?;
///         if waiting.len() == 3 {
///             self.waiting.clear(ctx)?;
///             ctx.emit(waiting);
///         }
///         Ok(())
///     }
/// }
/// # let names = ["a", "b", "c", "d"].map(|name| ("pen", name.to_owned()));
/// # let threes = harness::run(|states| Ok(ByThree { waiting: states.list("waiting")? }), names)?;
/// # assert_eq!(threes, [["a", "b", "c"]]);
/// # Ok::<(), Error>(())
/// ```
pub struct ListState<T, N: ?Sized = ()> {
    id: StateId,
    types: PhantomData<fn(&N) -> T>,
}

handle!(ListState<T, N: ?Sized>);

/// Appends elements as a list holds them.
fn push_all<'t, T: Codec + 't>(elements: impl IntoIterator<Item = &'t T>, out: &mut Vec<u8>) {
    elements.into_iter().for_each(|element| push_element(out, |out| element.encode(out)));
}

impl<T: Codec, N: ?Sized> ListState<T, N> {
    /// All elements; none if none was added, or the list was cleared.
    pub fn get<'a>(&self, scope: impl Scope<'a, N>) -> StateFuture<Vec<T>> {
        Context::read(scope, self.id, |list| {
            list_elements(list.unwrap_or_default()).map(|element| T::decode(element?)).collect()
        })
    }

    /// Appends an element. Never reads; done when it returns.
    ///
    /// # Errors
    /// `Invalid` if key or element is too large for the backend.
    #[inline]
    pub fn add<'a>(&self, scope: impl Scope<'a, N>, element: &T) -> Result<()> {
        self.add_all(scope, [element])
    }

    /// Appends elements. Never reads; done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key or all elements together are too large for the backend.
    pub fn add_all<'a, 't>(
        &self,
        scope: impl Scope<'a, N>,
        elements: impl IntoIterator<Item = &'t T>,
    ) -> Result<()>
    where
        T: 't,
    {
        let mut elements = elements.into_iter().peekable();
        if elements.peek().is_none() {
            return Ok(());
        }
        let encode = |out: &mut Vec<u8>| push_all(elements, out);
        Context::write(scope, self.id, encode, |backend, key, operand| backend.merge(key, operand))
    }

    /// Replaces the list; by none, that is a clear. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key or all elements together are too large for the backend.
    pub fn update<'a, 't>(
        &self,
        scope: impl Scope<'a, N>,
        elements: impl IntoIterator<Item = &'t T>,
    ) -> Result<()>
    where
        T: 't,
    {
        let encode = |out: &mut Vec<u8>| push_all(elements, out);
        Context::write(scope, self.id, encode, |backend, key, list| {
            if list.is_empty() { backend.delete(key) } else { backend.put(key, list) }
        })
    }

    /// Removes all elements. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key is too large for the backend.
    pub fn clear<'a>(&self, scope: impl Scope<'a, N>) -> Result<()> {
        Context::write(scope, self.id, |_| (), |backend, key, _| backend.delete(key))
    }
}

impl<T: Codec, N: KeyCodec + ?Sized> ListState<T, N> {
    /// Appends the lists of the sources to the target's, in their order, and clears them; as
    /// [`ReducingState::merge_namespaces`](crate::ReducingState::merge_namespaces).
    ///
    /// # Errors
    /// The backend's; then nothing was written.
    pub async fn merge_namespaces<'n, Out>(
        &self,
        ctx: &Context<Out>,
        target: &N,
        sources: impl IntoIterator<Item = &'n N>,
    ) -> Result<()>
    where
        N: 'n,
    {
        merging::merge_namespaces(ctx, self.id, target, sources).await
    }
}
