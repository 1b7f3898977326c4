//! The store by itself: opens one on a `file://` URL, writes, reads in batches and pages, takes a snapshot, and reopens.
//!
//! ```sh
//! cargo run -p alluvium-forst --example store                          # in a folder that is deleted at the end
//! cargo run -p alluvium-forst --example store -- file:///tmp/readings  # in a folder that stays
//! ```
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use alluvium_env::{Background, IoRuntime};
use alluvium_forst::{
    Answer, Error, ForstSettings, KeepAll, NoMerges, Page, PageQuery, Restored, Result, Store, StoreOptions,
};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

const SENSORS: u32 = 1000;
const READINGS: u32 = 100;
/// Where this program keeps how to open its store again.
const MANIFEST: &str = "manifest";

fn main() -> Result<()> {
    let scratch =
        tempfile::tempdir().map_err(|e| Error::unavailable("no folder to work in").with_source(e))?;
    let url = std::env::args().nth(1).unwrap_or_else(|| format!("file://{}", scratch.path().display()));
    let (objects, io) = (open_url(&url)?, IoRuntime::new(2)?);

    // A small memory, so that most of what is written lies on the store.
    let (mut readings, bell) = open(&objects, &io, "state/1", Vec::new())?;
    for number in 0..SENSORS * READINGS {
        let (sensor, reading) = (number % SENSORS, number / SENSORS);
        readings.put(&key(sensor, reading), format!("{reading} of sensor {sensor}").as_bytes())?;
        // The store says when writers should wait. It never blocks a write.
        while !readings.admits() {
            bell.wait()?;
            readings.poll(&mut |_, _| ())?;
        }
    }
    readings.delete(&key(7, 3))?;
    readings.delete_prefix(&prefix(8))?;
    println!("wrote {} readings: {:?}", SENSORS * READINGS, readings.counters());

    // One batch: sorted, filtered and fetched together, whatever the keys are.
    let wanted = [key(1, 99), key(500, 0), key(7, 3), key(8, 50), key(999, 42)];
    for (key, value) in wanted.iter().zip(read(&mut readings, &bell, &wanted)?) {
        println!("{}: {}", key.escape_ascii(), value.as_deref().unwrap_or("nothing"));
    }
    let page = first_page(&mut readings, &bell, &prefix(42))?;
    println!("sensor 42: {} readings in the first page, more: {}", page.len(), page.more());

    // Instant; what is not on the store yet is uploaded afterwards, and the store could go on meanwhile.
    let mut snapshot = readings.snapshot();
    let uploaded = io.block_on(snapshot.upload())?;
    let manifest = snapshot.manifest();
    println!("snapshot: {} objects, {uploaded} bytes uploaded for it", snapshot.files().len());
    let name = Path::from(MANIFEST);
    io.block_on(objects.put(&name, manifest.into()))
        .map_err(|e| Error::unavailable("cannot write the manifest").with_source(e))?;
    drop((snapshot, readings));

    // Whoever has the manifest can open that moment again, under a name of its own for what it will write.
    let read_manifest = async { objects.get(&name).await?.bytes().await };
    let manifest = io.block_on(read_manifest);
    let manifest = manifest.map_err(|e| Error::unavailable("cannot read the manifest").with_source(e))?;
    let restored = Restored { manifest, start: Vec::new(), end: Vec::new() };
    let (mut reopened, bell) = open(&objects, &io, "state/2", vec![restored])?;
    let found = read(&mut reopened, &bell, &wanted)?;
    println!("reopened: {found:?}");
    let expected = [Some("99 of sensor 1"), Some("0 of sensor 500"), None, None, Some("42 of sensor 999")];
    assert!(found.iter().map(Option::as_deref).eq(expected), "the snapshot holds what was written before it");
    Ok(())
}

fn key(sensor: u32, reading: u32) -> Vec<u8> {
    // Numbers in big endian sort as numbers.
    [&prefix(sensor)[..], &reading.to_be_bytes()].concat()
}

fn prefix(sensor: u32) -> Vec<u8> {
    [b"s", &sensor.to_be_bytes()[..]].concat()
}

fn open_url(url: &str) -> Result<Arc<dyn ObjectStore>> {
    let unusable = |what: &str| Error::invalid(format!("{url} {what}; write file:///folder"));
    let parsed = Url::parse(url).map_err(|e| unusable("is no URL").with_source(e))?;
    let (store, folder) =
        object_store::parse_url(&parsed).map_err(|e| unusable("cannot be opened").with_source(e))?;
    Ok(Arc::new(PrefixStore::new(store, folder)))
}

/// Rung by the store's threads when there is something to poll.
struct Bell(Receiver<()>);

impl Bell {
    fn wait(&self) -> Result<()> {
        self.0.recv().map_err(|_| Error::closed("the store is gone"))
    }
}

fn open(
    objects: &Arc<dyn ObjectStore>,
    io: &IoRuntime,
    prefix: &str,
    restored: Vec<Restored>,
) -> Result<(Store, Bell)> {
    let (bell, rings) = channel();
    let store = Store::open(StoreOptions {
        settings: ForstSettings { memory_bytes: 4 << 20, ..ForstSettings::default() },
        store: Arc::clone(objects),
        io: io.clone(),
        background: Arc::new(Background::new(2)?),
        disk: None,
        operators: Arc::new(NoMerges),
        // Objects that nobody needs any more stay: deleting them is for whoever knows which snapshots are kept.
        ownership: Arc::new(KeepAll),
        // Nobody waits any more where sending fails.
        notify: Arc::new(move || bell.send(()).unwrap_or(())),
        prefix: prefix.to_owned(),
        restored,
    })?;
    Ok((store, Bell(rings)))
}

/// Reads a batch of keys; an absent one is `None`.
fn read(store: &mut Store, bell: &Bell, keys: &[Vec<u8>]) -> Result<Vec<Option<String>>> {
    let mut found = vec![None; keys.len()];
    let (mut open, mut failed) = (keys.len(), None);
    // Tokens say which answer is whose: they come in any order.
    store.read((0..).zip(keys.iter().map(Vec::as_slice)));
    loop {
        store.poll(&mut |token, answer| {
            open -= 1;
            let value =
                answer.map(|answer| answer.value().map(|bytes| String::from_utf8_lossy(bytes).into()));
            match (value, found.get_mut(token as usize)) {
                (Ok(value), Some(place)) => *place = value,
                (Err(error), _) => failed = Some(error),
                (Ok(_), None) => {}
            }
        })?;
        if open == 0 {
            return failed.map_or(Ok(found), Err);
        }
        bell.wait()?;
    }
}

/// Reads the first entries whose keys begin with a prefix.
fn first_page(store: &mut Store, bell: &Bell, prefix: &[u8]) -> Result<Page> {
    let query = PageQuery { prefix, after: None, limit: 64 };
    store.read_pages([(0, query)]);
    let mut found = None;
    loop {
        store.poll(&mut |_, answer| {
            found = Some(answer.map(|answer| match answer {
                Answer::Page(page) => page.clone(),
                _ => Page::default(),
            }));
        })?;
        match found.take() {
            Some(page) => return page,
            None => bell.wait()?,
        }
    }
}
