//! Pages of a store, waited for.
use std::time::Duration;

use alluvium_env::Result;
use alluvium_forst::{Answer, Page, PageQuery, Store};

use super::bell::Bell;

fn page(store: &mut Store, bell: &Bell, query: PageQuery<'_>) -> Page {
    if let Some(page) = store.page_resident(query).unwrap() {
        return page;
    }
    store.read_pages([(7, query)]);
    let mut found = None;
    loop {
        let mut take = |token, answer: Result<Answer<'_>>| match answer.unwrap() {
            Answer::Page(page) => found = Some((token, page.clone())),
            other => panic!("{other:?} is no page"),
        };
        store.poll(&mut take).unwrap();
        match found {
            Some((token, page)) => {
                assert_eq!(token, 7);
                return page;
            }
            None => bell.wait(Duration::from_mins(1)).unwrap(),
        }
    }
}

/// All entries of a prefix, page by page.
pub(crate) fn entries(store: &mut Store, bell: &Bell, prefix: &[u8], limit: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    loop {
        let after = entries.last().map(|(key, _)| key.clone());
        let page = page(store, bell, PageQuery { prefix, after: after.as_deref(), limit });
        assert!(page.len() <= limit as usize, "a page of {}, where {limit} fit", page.len());
        assert!(!page.more() || !page.is_empty(), "an empty page says that more follows");
        entries.extend(page.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
        if !page.more() {
            return entries;
        }
    }
}
