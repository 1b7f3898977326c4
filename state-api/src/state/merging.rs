//! Merging of namespaces: what some hold becomes part of what another one holds, as merged windows need it.
use alluvium_env::Result;

use crate::{Context, KeyCodec, StateFuture, StateId, combine_all};

/// Merges what the sources hold into the target, in their order, and deletes them. What a read shows of a list, a
/// reduced value or an accumulator is an operand of its own kind.
pub(super) async fn merge_namespaces<'n, Out, N: KeyCodec + ?Sized + 'n>(
    ctx: &Context<Out>,
    state: StateId,
    target: &N,
    sources: impl IntoIterator<Item = &'n N>,
) -> Result<()> {
    let encoded = |namespace: &N| {
        let mut bytes = Vec::new();
        namespace.encode_key(&mut bytes);
        bytes
    };
    let mut seen = vec![encoded(target)];
    let mut merged: Vec<&N> = Vec::new();
    let mut reads: Vec<StateFuture<Option<Vec<u8>>>> = Vec::new();
    for source in sources {
        let bytes = encoded(source);
        if !seen.contains(&bytes) {
            seen.push(bytes);
            merged.push(source);
            reads.push(Context::read(ctx.in_namespace(source), state, |held| Ok(held.map(<[u8]>::to_vec))));
        }
    }
    let found = combine_all(reads).await?;
    for (source, held) in merged.into_iter().zip(found) {
        let Some(held) = held else { continue };
        let encode = |out: &mut Vec<u8>| out.extend_from_slice(&held);
        Context::write(ctx.in_namespace(target), state, encode, |backend, key, held| {
            backend.merge(key, held)
        })?;
        Context::write(ctx.in_namespace(source), state, |_| (), |backend, key, _| backend.delete(key))?;
    }
    Ok(())
}
