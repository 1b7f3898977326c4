//! FLIP-424's combinators: code that is built as a graph of state accesses instead of written with `await`.
//!
//! They work on every future of a [`Result`], hence on each other's. Nothing is boxed: a chain is one future that holds its
//! parts, and what memory answers is handed on in the poll that asked. A chain is a future like any other, so it does
//! nothing until it is awaited or returned, but for the read it begins with: that is asked for when it is made.
//!
//! **Failure**: an error ends the chain; no later function is called. Each function may fail as well.
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use alluvium_env::Result;

/// The combinators; see the module.
///
/// ```
/// # use alluvium_state_api::*;
/// /// Emits the higher of two counters after raising the one that is named.
/// struct Race { left: ValueState<u64>, right: ValueState<u64> }
/// impl KeyedProcess for Race {
///     type In = bool;
///     type Out = u64;
///     fn process(&self, is_left: bool, ctx: &Context<u64>) -> impl Future<Output = Result<()>> {
///         let raised = if is_left { &self.left } else { &self.right };
///         raised
///             .get(ctx)
///             .then_accept(move |count| raised.put(ctx, &(count.unwrap_or(0) + 1)))
///             .then_compose(move |()| {
///                 self.left.get(ctx).then_combine(self.right.get(ctx), |left, right| Ok(left.max(right)))
///             })
///             .then_accept(move |highest| {
///                 ctx.emit(highest.unwrap_or(0));
///                 Ok(())
///             })
///     }
/// }
/// # let open = |states: &States<'_>| Ok(Race { left: states.value("left")?, right: states.value("right")? });
/// # assert_eq!(harness::run(open, [true, false, false].map(|is_left| ("k", is_left)))?, [1, 1, 2]);
/// # Ok::<(), Error>(())
/// ```
pub trait StateFutureExt<T>: Future<Output = Result<T>> + Sized {
    /// Makes something else of the value.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let double = StateFuture::completed(21).then_apply(|n| Ok(n * 2));
    /// assert_eq!(double.await?, 42);
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_apply<U>(self, apply: impl FnOnce(T) -> Result<U>) -> impl Future<Output = Result<U>> {
        async move { apply(self.await?) }
    }

    /// Does something with the value.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let mut seen = Vec::new();
    /// StateFuture::completed("ox").then_accept(|name| Ok(seen.push(name))).await?;
    /// assert_eq!(seen, ["ox"]);
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_accept(self, accept: impl FnOnce(T) -> Result<()>) -> impl Future<Output = Result<()>> {
        self.then_apply(accept)
    }

    /// Goes on with another future, made of the value.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let next = StateFuture::completed(20).then_compose(|n| StateFuture::completed(n + 1));
    /// assert_eq!(next.await?, 21);
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_compose<U, F>(self, compose: impl FnOnce(T) -> F) -> impl Future<Output = Result<U>>
    where
        F: Future<Output = Result<U>>,
    {
        async move { compose(self.await?).await }
    }

    /// Waits for another future beside this one and makes something of both values.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let both = StateFuture::completed(20).then_combine(StateFuture::completed("x"), |n, text| Ok(text.repeat(n)));
    /// assert_eq!(both.await?.len(), 20);
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_combine<U, V>(
        self,
        other: impl Future<Output = Result<U>>,
        combine: impl FnOnce(T, U) -> Result<V>,
    ) -> impl Future<Output = Result<V>> {
        async move {
            let (value, other) = both(self, other).await?;
            combine(value, other)
        }
    }

    /// Makes something else of a value that meets a condition; `None` of any other.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let root = |n: f64| StateFuture::completed(n).then_conditionally_apply(|n| *n >= 0.0, |n| Ok(n.sqrt()));
    /// assert_eq!((root(9.0).await?, root(-9.0).await?), (Some(3.0), None));
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_conditionally_apply<U>(
        self,
        condition: impl FnOnce(&T) -> bool,
        apply: impl FnOnce(T) -> Result<U>,
    ) -> impl Future<Output = Result<Option<U>>> {
        self.then_apply(|value| if condition(&value) { apply(value).map(Some) } else { Ok(None) })
    }

    /// Makes one thing of a value that meets a condition, another of any other.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let name = |n: i32| {
    ///     let even = |n: &i32| n % 2 == 0;
    ///     StateFuture::completed(n).then_conditionally_apply_or(even, |_| Ok("even"), |_| Ok("odd"))
    /// };
    /// assert_eq!((name(2).await?, name(3).await?), ("even", "odd"));
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_conditionally_apply_or<U>(
        self,
        condition: impl FnOnce(&T) -> bool,
        apply: impl FnOnce(T) -> Result<U>,
        otherwise: impl FnOnce(T) -> Result<U>,
    ) -> impl Future<Output = Result<U>> {
        self.then_apply(|value| if condition(&value) { apply(value) } else { otherwise(value) })
    }

    /// Does something with a value that meets a condition, and says whether it did.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let mut high = Vec::new();
    /// let bid = StateFuture::completed(7);
    /// assert!(bid.then_conditionally_accept(|bid| *bid > 5, |bid| Ok(high.push(bid))).await?);
    /// assert_eq!(high, [7]);
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_conditionally_accept(
        self,
        condition: impl FnOnce(&T) -> bool,
        accept: impl FnOnce(T) -> Result<()>,
    ) -> impl Future<Output = Result<bool>> {
        self.then_conditionally_accept_or(condition, accept, |_| Ok(()))
    }

    /// Does one thing with a value that meets a condition, another with any other, and says whether it did.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let (high, low) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    /// let bid = StateFuture::completed(3);
    /// let is_high = bid.then_conditionally_accept_or(|bid| *bid > 5, |b| Ok(high.set(b)), |b| Ok(low.set(b))).await?;
    /// assert_eq!((is_high, high.get(), low.get()), (false, 0, 3));
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_conditionally_accept_or(
        self,
        condition: impl FnOnce(&T) -> bool,
        accept: impl FnOnce(T) -> Result<()>,
        otherwise: impl FnOnce(T) -> Result<()>,
    ) -> impl Future<Output = Result<bool>> {
        self.then_apply(|value| {
            let meets = condition(&value);
            if meets { accept(value) } else { otherwise(value) }.map(|()| meets)
        })
    }

    /// Goes on with another future, made of a value that meets a condition; `None` of any other.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let next = |n: u32| {
    ///     StateFuture::completed(n).then_conditionally_compose(|n| *n > 0, |n| StateFuture::completed(n - 1))
    /// };
    /// assert_eq!((next(3).await?, next(0).await?), (Some(2), None));
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_conditionally_compose<U, F>(
        self,
        condition: impl FnOnce(&T) -> bool,
        compose: impl FnOnce(T) -> F,
    ) -> impl Future<Output = Result<Option<U>>>
    where
        F: Future<Output = Result<U>>,
    {
        async move {
            let value = self.await?;
            if condition(&value) { compose(value).await.map(Some) } else { Ok(None) }
        }
    }

    /// Goes on with one future of a value that meets a condition, with another of any other.
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # async fn example() -> Result<()> {
    /// let next = |n: u32| {
    ///     StateFuture::completed(n).then_conditionally_compose_or(
    ///         |n| n % 2 == 0,
    ///         |n| StateFuture::completed(n / 2),
    ///         |n| StateFuture::completed(3 * n + 1),
    ///     )
    /// };
    /// assert_eq!((next(6).await?, next(3).await?), (3, 10));
    /// # Ok(()) }
    /// # harness::block_on(example())?;
    /// # Ok::<(), Error>(())
    /// ```
    fn then_conditionally_compose_or<U, F, G>(
        self,
        condition: impl FnOnce(&T) -> bool,
        compose: impl FnOnce(T) -> F,
        otherwise: impl FnOnce(T) -> G,
    ) -> impl Future<Output = Result<U>>
    where
        F: Future<Output = Result<U>>,
        G: Future<Output = Result<U>>,
    {
        async move {
            let value = self.await?;
            if condition(&value) { compose(value).await } else { otherwise(value).await }
        }
    }
}

impl<T, F: Future<Output = Result<T>>> StateFutureExt<T> for F {}

/// The values of two futures that wait together; the first error ends both.
async fn both<A, B>(
    first: impl Future<Output = Result<A>>,
    second: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(|cx| {
        if a.is_none()
            && let Poll::Ready(value) = first.as_mut().poll(cx)
        {
            a = Some(value?);
        }
        if b.is_none()
            && let Poll::Ready(value) = second.as_mut().poll(cx)
        {
            b = Some(value?);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready(Ok((a, b))),
            (first, second) => {
                (a, b) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

/// The values of many futures that wait together, in their order; the first error ends all. State futures are taken as
/// they are; a future that must not move is boxed by who makes it: `combine_all(keys.map(|key| Box::pin(…)))`.
///
/// # Errors
/// The first error of a future.
///
/// ```
/// # use alluvium_state_api::*;
/// # async fn example() -> Result<()> {
/// let all = combine_all([3, 1, 2].map(StateFuture::completed));
/// assert_eq!(all.await?, [3, 1, 2]);
/// # Ok(()) }
/// # harness::block_on(example())?;
/// # Ok::<(), Error>(())
/// ```
pub async fn combine_all<T, F>(futures: impl IntoIterator<Item = F>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Unpin,
{
    let mut futures: Vec<(F, Option<T>)> = futures.into_iter().map(|future| (future, None)).collect();
    poll_fn(|cx| {
        let mut all = true;
        for (future, value) in futures.iter_mut().filter(|(_, value)| value.is_none()) {
            match Pin::new(future).poll(cx) {
                Poll::Ready(ready) => *value = Some(ready?),
                Poll::Pending => all = false,
            }
        }
        if all { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(futures.into_iter().filter_map(|(_, value)| value).collect())
}
