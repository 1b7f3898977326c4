//! Iterators over map entries: pages of entries, fetched as they are needed (FLIP-424's `StateIterator`).
//!
//! **Invariants**: nothing is locked or pinned between two pages, and the next one begins behind the last entry of this
//! one. So an iterator that goes on after a write sees the write if it lies in a page that was not fetched yet, and may
//! see it or not otherwise; every entry that nobody wrote meanwhile is seen once.
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context as TaskWaker, Poll, ready};

use alluvium_env::Result;
use futures_core::Stream;

use crate::page::OpenPage;
use crate::{Context, DEFAULT_PAGE_ENTRIES, PageRequest, StateFuture, combine_all};

/// Who reads pages: a context, whatever it emits.
trait Pages {
    fn read_page(&self, request: PageRequest<'_>) -> StateFuture<Vec<u8>>;
}

impl<Out> Pages for Context<Out> {
    fn read_page(&self, request: PageRequest<'_>) -> StateFuture<Vec<u8>> {
        Context::read_page(self, request, |page| Ok(page.unwrap_or_default().to_vec()))
    }
}

/// Entries of a map, [`DEFAULT_PAGE_ENTRIES`] at a time; the first page is asked for at once, each other when the one before
/// is used up.
///
/// ```
/// # use alluvium_state_api::*;
/// /// Emits the sum of a map's values, whenever it grows.
/// struct Sums { values: MapState<u32, u64> }
/// impl KeyedProcess for Sums {
///     type In = (u32, u64);
///     type Out = u64;
///     async fn process(&self, (key, value): (u32, u64), ctx: &Context<u64>) -> Result<()> {
///         self.values.put(ctx, &key, &value)?;
///         let (mut sum, mut values) = (0, self.values.values(ctx));
///         while let Some(value) = values.next().await? {
///             sum += value;
///         }
///         ctx.emit(sum);
///         Ok(())
///     }
/// }
/// # let sums = harness::run(|states| Ok(Sums { values: states.map("values")? }), [("k", (1, 5)), ("k", (2, 6)), ("k", (1, 7))])?;
/// # assert_eq!(sums, [5, 11, 13]);
/// # Ok::<(), Error>(())
/// ```
///
/// It is a [`Stream`] too, for code that works on those:
///
/// ```
/// # use alluvium_state_api::*;
/// use futures_util::{StreamExt, TryStreamExt};
///
/// /// Emits the two least keys.
/// struct Least { keys: MapState<i64, ()> }
/// impl KeyedProcess for Least {
///     type In = i64;
///     type Out = Vec<i64>;
///     async fn process(&self, key: i64, ctx: &Context<Self::Out>) -> Result<()> {
///         self.keys.put(ctx, &key, &())?;
///         ctx.emit(self.keys.keys(ctx).take(2).try_collect().await?);
///         Ok(())
///     }
/// }
/// # let least = harness::run(|states| Ok(Least { keys: states.map("keys")? }), [("k", 7), ("k", -3), ("k", 1)])?;
/// # assert_eq!(least, [vec![7], vec![-3, 7], vec![-3, 1]]);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "an iterator does nothing unless it is asked for entries"]
pub struct StateIterator<'a, T> {
    pages: &'a dyn Pages,
    prefix: Vec<u8>,
    decode: fn(&[u8], &[u8]) -> Result<T>,
    page: OpenPage,
    next: Option<StateFuture<Vec<u8>>>,
}

impl<'a, T> StateIterator<'a, T> {
    pub(crate) fn new<Out>(
        context: &'a Context<Out>,
        prefix: Vec<u8>,
        decode: fn(&[u8], &[u8]) -> Result<T>,
    ) -> Self {
        let mut iterator = Self { pages: context, prefix, decode, page: OpenPage::default(), next: None };
        iterator.request(None);
        iterator
    }

    fn request(&mut self, after: Option<&[u8]>) {
        let request = PageRequest { prefix: &self.prefix, after, limit: DEFAULT_PAGE_ENTRIES };
        self.next = Some(self.pages.read_page(request));
    }

    /// The next item of the page at hand; `None` if all are behind. Nothing follows an error.
    fn at_hand(&mut self) -> Result<Option<T>> {
        let (prefix, decode) = (self.prefix.len(), self.decode);
        let entry = self.page.next_entry().and_then(|entry| {
            entry.map(|(key, value)| decode(key.get(prefix..).unwrap_or_default(), value)).transpose()
        });
        entry.inspect_err(|_| self.page = OpenPage::default())
    }

    /// Sees to a page with items at hand; `false` at the end.
    fn poll_page(&mut self, cx: &mut TaskWaker<'_>) -> Poll<Result<bool>> {
        while self.page.is_used_up() {
            if self.next.is_none()
                && let Some(last) = self.page.go_on_behind()
            {
                self.request(Some(&last));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(Ok(false)) };
            let fetched = ready!(Pin::new(next).poll(cx));
            self.next = None;
            self.page = fetched.and_then(OpenPage::new)?;
        }
        Poll::Ready(Ok(true))
    }

    fn poll_item(&mut self, cx: &mut TaskWaker<'_>) -> Poll<Result<Option<T>>> {
        Poll::Ready(match ready!(self.poll_page(cx)) {
            Ok(true) => self.at_hand(),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// The next item, `None` behind the last.
    ///
    /// # Errors
    /// The backend's, or `Corruption` if an entry cannot be decoded; nothing follows an error.
    pub async fn next(&mut self) -> Result<Option<T>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// Hands every item to `accept` (FLIP-424).
    ///
    /// # Errors
    /// The iterator's, or the first of `accept`.
    pub async fn on_next(mut self, mut accept: impl FnMut(T) -> Result<()>) -> Result<()> {
        while let Some(item) = self.next().await? {
            accept(item)?;
        }
        Ok(())
    }

    /// Makes a future of every item and gives their results, in the items' order (FLIP-424). The futures of a page wait
    /// together, so what they read is read in one batch.
    ///
    /// # Errors
    /// The iterator's, or the first of the futures.
    pub async fn on_next_compose<U, F>(mut self, mut compose: impl FnMut(T) -> F) -> Result<Vec<U>>
    where
        F: Future<Output = Result<U>> + Unpin,
    {
        let mut results = Vec::new();
        while poll_fn(|cx| self.poll_page(cx)).await? {
            let mut futures = Vec::new();
            while let Some(item) = self.at_hand()? {
                futures.push(compose(item));
            }
            results.append(&mut combine_all(futures).await?);
        }
        Ok(results)
    }
}

impl<T> Stream for StateIterator<'_, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskWaker<'_>) -> Poll<Option<Result<T>>> {
        self.poll_item(cx).map(Result::transpose)
    }
}
