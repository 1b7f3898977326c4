//! Entries by user key.
use std::marker::PhantomData;

use alluvium_env::Result;

use super::handle;
use crate::scope::Entry;
use crate::{Codec, Context, KeyCodec, Page, PageRequest, Scope, StateFuture, StateId, StateIterator};

/// A map a key and namespace; each entry is stored by itself, and they are iterated in the order of their user keys. With a
/// TTL, each entry lives on its own.
///
/// ```
/// # use alluvium_state_api::*;
/// /// Emits what was bought, and how often, when a shopper pays.
/// struct Basket { items: MapState<str, u32> }
/// impl KeyedProcess for Basket {
///     type In = Option<String>;
///     type Out = (String, u32);
///     async fn process(&self, item: Self::In, ctx: &Context<Self::Out>) -> Result<()> {
///         if let Some(item) = item {
///             let before = self.items.get(ctx, &item).await?.unwrap_or(0);
///             return self.items.put(ctx, &item, &(before + 1));
///         }
///         let mut items = self.items.entries(ctx);
///         while let Some(entry) = items.next().await? {
///             ctx.emit(entry);
///         }
///         self.items.clear(ctx)
///     }
/// }
/// # let bought = [Some("nut"), Some("fig"), Some("nut"), None].map(|item| ("ann", item.map(str::to_owned)));
/// # let paid = harness::run(|states| Ok(Basket { items: states.map("items")? }), bought)?;
/// # assert_eq!(paid, [("fig".to_owned(), 1), ("nut".to_owned(), 2)]);
/// # Ok::<(), Error>(())
/// ```
pub struct MapState<K: ?Sized, V, N: ?Sized = ()> {
    id: StateId,
    types: PhantomData<fn(&K, &N) -> V>,
}

handle!(MapState<K: ?Sized, V, N: ?Sized>);

impl<K: KeyCodec + ?Sized, V: Codec, N: ?Sized> MapState<K, V, N> {
    /// The value of a user key, `None` if it was never put or was removed.
    #[inline]
    pub fn get<'a>(&self, scope: impl Scope<'a, N>, user_key: &K) -> StateFuture<Option<V>> {
        Context::read(Entry { scope, user_key }, self.id, |value| value.map(V::decode).transpose())
    }

    /// Whether there is an entry.
    pub fn contains<'a>(&self, scope: impl Scope<'a, N>, user_key: &K) -> StateFuture<bool> {
        Context::read(Entry { scope, user_key }, self.id, |value| Ok(value.is_some()))
    }

    /// Adds an entry, or replaces its value. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if keys or value are too large for the backend.
    #[inline]
    pub fn put<'a>(&self, scope: impl Scope<'a, N>, user_key: &K, value: &V) -> Result<()> {
        let encode = |out: &mut Vec<u8>| value.encode(out);
        Context::write(Entry { scope, user_key }, self.id, encode, |backend, key, value| {
            backend.put(key, value)
        })
    }

    /// Adds entries, or replaces their values. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if keys or a value are too large for the backend; entries before are put.
    pub fn put_all<'a, 'e>(
        &self,
        scope: impl Scope<'a, N>,
        entries: impl IntoIterator<Item = (&'e K, &'e V)>,
    ) -> Result<()>
    where
        K: 'e,
        V: 'e,
    {
        entries.into_iter().try_for_each(|(user_key, value)| self.put(scope, user_key, value))
    }

    /// Removes an entry. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the keys are too large for the backend.
    #[inline]
    pub fn remove<'a>(&self, scope: impl Scope<'a, N>, user_key: &K) -> Result<()> {
        Context::write(Entry { scope, user_key }, self.id, |_| (), |backend, key, _| backend.delete(key))
    }

    /// Removes all entries, by one tombstone however many there are. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key is too large for the backend.
    pub fn clear<'a>(&self, scope: impl Scope<'a, N>) -> Result<()> {
        Context::write(scope, self.id, |_| (), |backend, key, _| backend.delete_prefix(key))
    }

    /// Whether there is no entry.
    pub fn is_empty<'a>(&self, scope: impl Scope<'a, N>) -> StateFuture<bool> {
        let prefix = self.prefix(scope);
        let request = PageRequest { prefix: &prefix, after: None, limit: 1 };
        scope.context().read_page(request, |page| {
            page.map_or(Ok(true), |page| Ok(Page::decode(page)?.next_entry()?.is_none()))
        })
    }

    /// All entries.
    pub fn entries<'a>(&self, scope: impl Scope<'a, N>) -> StateIterator<'a, (K::Owned, V)> {
        self.iterate(scope, |user_key, value| Ok((K::decode_key(user_key)?, V::decode(value)?)))
    }

    /// All user keys.
    pub fn keys<'a>(&self, scope: impl Scope<'a, N>) -> StateIterator<'a, K::Owned> {
        self.iterate(scope, |user_key, _| K::decode_key(user_key))
    }

    /// All values, in the order of their user keys.
    pub fn values<'a>(&self, scope: impl Scope<'a, N>) -> StateIterator<'a, V> {
        self.iterate(scope, |_, value| V::decode(value))
    }

    fn prefix<'a>(&self, scope: impl Scope<'a, N>) -> Vec<u8> {
        let mut prefix = Vec::new();
        Context::build_key(scope, self.id, &mut prefix);
        prefix
    }

    fn iterate<'a, T>(
        &self,
        scope: impl Scope<'a, N>,
        decode: fn(&[u8], &[u8]) -> Result<T>,
    ) -> StateIterator<'a, T> {
        StateIterator::new(scope.context(), self.prefix(scope), decode)
    }
}
