//! The registry against a model: after any sequence of calls exactly the used files exist.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use proptest::prelude::*;

use super::*;
use crate::objects::Creation;

/// What the model says of the files that exist.
#[derive(Default)]
struct Model {
    holders: BTreeMap<u8, u32>,
    /// Pending and complete checkpoints, and the files each names; pages among them.
    checkpoints: BTreeMap<u64, Vec<u8>>,
    /// Pages that are held, and what each names: they hold that as well.
    pages: BTreeMap<u8, Vec<u8>>,
    /// What every page has ever named.
    named: BTreeMap<u8, Vec<u8>>,
    next_file: u8,
    next_checkpoint: u64,
}

impl Model {
    fn release(&mut self, file: u8, registry: &SharedFileRegistry) {
        let holders = self.holders.entry(file).or_default();
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&file);
        }
        registry.release(&name(file));
    }

    fn alive(&self) -> BTreeSet<String> {
        let named = self.checkpoints.values().flatten();
        let in_pages = named.clone().filter_map(|page| self.named.get(page)).flatten();
        self.holders.keys().chain(named).chain(in_pages).map(|file| name(*file)).collect()
    }
}

/// Calls; an index picks among what exists.
#[derive(Clone, Debug)]
enum Call {
    Write,
    Hold(usize),
    Release(usize),
    /// A page is written that names some of the files that are held.
    WritePage(Vec<usize>),
    /// Its writer gives it up.
    DropPage(usize),
    /// A checkpoint names some of the files and pages that are held.
    Refer(Vec<usize>, Option<usize>),
    Forget(usize),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let index = any::<usize>();
    let call = prop_oneof![
        3 => Just(Call::Write),
        2 => index.prop_map(Call::Hold),
        4 => index.prop_map(Call::Release),
        2 => (prop::collection::vec(any::<usize>(), 0..4), any::<Option<usize>>())
            .prop_map(|(files, page)| Call::Refer(files, page)),
        2 => prop::collection::vec(any::<usize>(), 0..4).prop_map(Call::WritePage),
        1 => index.prop_map(Call::DropPage),
        2 => index.prop_map(Call::Forget),
    ];
    prop::collection::vec(call, 0..60)
}

fn name(file: u8) -> String {
    format!("state/00000001/{file}")
}

fn file(number: u8) -> FileRef {
    FileRef { name: name(number), size_bytes: 1 }
}

/// A page and what it names.
struct Page(u8, Vec<u8>);

impl ManifestPage for Page {
    fn object(&self) -> FileRef {
        file(self.0)
    }

    fn totals(&self) -> (u64, u64) {
        (self.1.len() as u64, self.1.len() as u64)
    }

    fn files(&self, each: &mut dyn FnMut(&str, u64)) {
        self.1.iter().for_each(|file| each(&name(*file), 1));
    }
}

fn pick<K: Copy, V>(from: &BTreeMap<K, V>, index: usize) -> Option<K> {
    from.keys().nth(index.checked_rem(from.len())?).copied()
}

fn apply(call: &Call, model: &mut Model, registry: &SharedFileRegistry, objects: &Objects, io: &IoRuntime) {
    match call {
        Call::Write => {
            let file = model.next_file;
            model.next_file += 1;
            model.holders.insert(file, 1);
            registry.hold(&name(file));
            let created = io.block_on(objects.create(&name(file), "x".into())).unwrap();
            assert_eq!(created, Creation::Created);
        }
        Call::Hold(index) => {
            let Some(file) = pick(&model.holders, *index) else { return };
            *model.holders.entry(file).or_default() += 1;
            registry.hold(&name(file));
        }
        Call::Release(index) => {
            let Some(file) = pick(&model.holders, *index) else { return };
            let of_pages = model.pages.iter().filter(|(page, files)| **page == file || files.contains(&file));
            let of_pages = of_pages.count() as u32;
            if model.holders.get(&file) > Some(&of_pages) {
                model.release(file, registry);
            }
        }
        Call::WritePage(indices) => {
            let files: BTreeSet<u8> =
                indices.iter().filter_map(|index| pick(&model.holders, *index)).collect();
            let files: Vec<u8> = files.into_iter().filter(|file| !model.named.contains_key(file)).collect();
            let page = model.next_file;
            model.next_file += 1;
            for file in files.iter().chain([&page]) {
                *model.holders.entry(*file).or_default() += 1;
                registry.hold(&name(*file));
            }
            io.block_on(objects.create(&name(page), "x".into())).unwrap();
            model.pages.insert(page, files.clone());
            model.named.insert(page, files);
        }
        Call::DropPage(index) => {
            let Some(page) = pick(&model.pages, *index) else { return };
            for file in model.pages.remove(&page).into_iter().flatten().chain([page]) {
                model.release(file, registry);
            }
        }
        Call::Refer(indices, page) => {
            let files = indices.iter().filter_map(|index| pick(&model.holders, *index));
            let mut files: Vec<u8> = files.filter(|file| !model.named.contains_key(file)).collect();
            let refs: Vec<FileRef> = files.iter().copied().map(file).collect();
            let page = page.and_then(|index| pick(&model.pages, index));
            let handle = |page| -> Arc<dyn ManifestPage> { Arc::new(Page(page, model.named[&page].clone())) };
            let pages: Vec<_> = page.iter().copied().map(handle).collect();
            registry.refer(CheckpointId(model.next_checkpoint), &refs, &pages);
            files.extend(page);
            model.checkpoints.insert(model.next_checkpoint, files);
            model.next_checkpoint += 1;
        }
        Call::Forget(index) => {
            let Some(checkpoint) = pick(&model.checkpoints, *index) else { return };
            model.checkpoints.remove(&checkpoint);
            registry.forget(CheckpointId(checkpoint));
        }
    }
}

fn existing(objects: &Objects, io: &IoRuntime) -> BTreeSet<String> {
    io.block_on(objects.list("state").try_collect()).unwrap()
}

#[test]
fn exactly_the_files_that_are_held_or_named_exist() {
    let io = IoRuntime::new(1).unwrap();
    proptest!(ProptestConfig::with_cases(128), |(calls in calls())| {
        let objects = Objects::new(Arc::new(InMemory::new()));
        let registry = SharedFileRegistry::new(objects.clone(), io.clone());
        let mut model = Model::default();
        for call in &calls {
            apply(call, &mut model, &registry, &objects, &io);
            // At no moment is a used file gone, whatever the worker is about to do.
            let missing: Vec<_> = model.alive().difference(&existing(&objects, &io)).cloned().collect();
            prop_assert!(missing.is_empty(), "{missing:?} deleted while in use");
        }
        let stats = registry.settle();
        prop_assert_eq!(existing(&objects, &io), model.alive());
        prop_assert_eq!(stats.files, model.alive().len() as u64);
        prop_assert_eq!((stats.waiting, stats.failed_deletes), (0, 0));
        prop_assert_eq!(stats.deleted, u64::from(model.next_file) - stats.files);
    });
}

#[test]
fn what_a_page_named_goes_although_the_page_was_given_up_before_it_was_read() {
    let (objects, io) = (Objects::new(Arc::new(InMemory::new())), IoRuntime::new(1).unwrap());
    let registry = SharedFileRegistry::new(objects.clone(), io.clone());
    let bytes = crate::pages::tests::worked();
    let page = FileRef { name: "state/00000001/0/9.page".into(), size_bytes: bytes.len() as u64 };
    let named = crate::pages::decode(&page.name, &bytes).unwrap();
    io.block_on(objects.create(&page.name, bytes)).unwrap();
    for file in &named {
        io.block_on(objects.create(&file.name, "x".into())).unwrap();
    }
    let used = &named[1].name;
    registry.hold(used);
    registry.refer_unread(CheckpointId(1), &page, &objects);
    registry.forget(CheckpointId(1));
    assert_eq!(registry.settle().waiting, 0);
    assert_eq!(existing(&objects, &io), [used.clone()].into());
    registry.release(used);
    registry.settle();
    assert!(existing(&objects, &io).is_empty());
}

#[test]
#[should_panic(expected = "given back more often than it was taken")]
fn a_release_without_a_hold_is_a_bug_and_not_a_deletion() {
    let (objects, io) = (Objects::new(Arc::new(InMemory::new())), IoRuntime::new(1).unwrap());
    let registry = SharedFileRegistry::new(objects, io);
    registry.refer(CheckpointId(1), &[FileRef { name: name(1), size_bytes: 1 }], &[]);
    registry.release(&name(1));
}
