//! `alluvium gc` beside jobs that run, start and end: looks at what is garbage, or takes the state over and deletes it.
use std::sync::Arc;

use alluvium_checkpoint::{Garbage, GarbageReport};
use alluvium_env::{Entropy, ErrorKind, Result};
use object_store::ObjectStore;

use crate::process::{Ending, Process};
use crate::store::ProcessStore;
use crate::world::World;

/// Starts one.
pub(crate) fn start(world: &Arc<World>, number: u64, takes_over: bool) -> Process {
    let had_state = world.has_state();
    Process::spawn(world, number, async move |store: ProcessStore| {
        let world = Arc::clone(&store.world);
        world.trace(format_args!(
            "{number} collects garbage, and {}",
            if takes_over { "takes over" } else { "only looks" }
        ));
        match collect(store, takes_over).await {
            Ok(report) => {
                world.count(|sum| sum.collected += report.deleted);
                world.count(|sum| sum.collections += 1);
                Ending::Finished
            }
            Err(error) => {
                world.trace(format_args!("{number} failed: {error}"));
                let permitted = match error.kind() {
                    ErrorKind::Unavailable | ErrorKind::Fenced => true,
                    ErrorKind::Invalid => !had_state,
                    _ => false,
                };
                if !permitted {
                    world.violate(format!("collection {number} ended with {error}"));
                }
                Ending::Failed
            }
        }
    })
}

async fn collect(store: ProcessStore, takes_over: bool) -> Result<GarbageReport> {
    let world = Arc::clone(&store.world);
    let entropy = Entropy::from_seed(world.random.next());
    let shared = Arc::new(store) as Arc<dyn ObjectStore>;
    let garbage =
        if takes_over { Garbage::take_over(shared, &entropy).await? } else { Garbage::look(shared).await? };
    let report = garbage.collect(&mut |_| Ok(())).await?;
    if !takes_over && report.deleted > 0 {
        world.violate("a look has deleted".to_owned());
    }
    Ok(report)
}

/// Whoever looks behind the last sweep is told of no garbage.
pub(crate) async fn finds_nothing(world: &Arc<World>) {
    let objects = Arc::clone(&world.objects) as Arc<dyn ObjectStore>;
    let looked = async { Garbage::look(objects).await?.collect(&mut |_| Ok(())).await };
    match looked.await {
        Ok(report) if report.orphans == 0 => {}
        looked => world.violate(format!("after the sweep a look says {looked:?}")),
    }
}
