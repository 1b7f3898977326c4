//! Keeps a hint small, whatever memory is: what is coldest is left out first, then neighbours are told as one.
use super::{Heat, HotRun, HotTable, encode};

/// Gaps up to this are closed before tables are left out: beyond it a run says little about its blocks.
const MAX_GAP: u32 = 1 << 10;

/// A hint of at most so many bytes.
pub(crate) fn encode_within(mut tables: Vec<HotTable>, most_bytes: usize) -> Vec<u8> {
    let mut bytes = encode(&tables);
    if bytes.len() > most_bytes {
        leave_out(&mut tables, Heat::Seen);
        bytes = encode(&tables);
    }
    let mut gap = 1;
    while bytes.len() > most_bytes && gap <= MAX_GAP {
        for table in &mut tables {
            join(table, gap);
        }
        bytes = encode(&tables);
        gap *= 4;
    }
    // Those of which most is hot say most in the same bytes.
    tables.sort_by_key(|table| std::cmp::Reverse(table.blocks()));
    while bytes.len() > most_bytes && !tables.is_empty() {
        tables.truncate(tables.len() / 2);
        bytes = encode(&tables);
    }
    bytes
}

/// Leaves out the blocks of a heat, but where nothing else is left.
fn leave_out(tables: &mut Vec<HotTable>, heat: Heat) {
    if tables.iter().flat_map(|table| &table.runs).all(|run| run.heat == heat) {
        return;
    }
    for table in tables.iter_mut() {
        table.runs.retain(|run| run.heat != heat);
    }
    tables.retain(|table| !table.runs.is_empty());
}

/// Tells runs as one that are at most `gap` blocks apart; what was between them will be read along with them.
fn join(table: &mut HotTable, gap: u32) {
    let mut joined: Vec<HotRun> = Vec::new();
    for run in &table.runs {
        match joined.last_mut() {
            Some(last) if run.first - last.end() <= gap => {
                last.heat = last.heat.min(run.heat);
                last.blocks = run.end() - last.first;
            }
            _ => joined.push(*run),
        }
    }
    table.runs = joined;
}

#[cfg(test)]
mod tests {
    use alluvium_env::Entropy;

    use super::*;
    use crate::hint::decode;

    /// Every `apart`-th block of many tables, of changing heat.
    fn tables(count: u64, apart: u32) -> Vec<HotTable> {
        let random = Entropy::from_seed(3);
        let table = |number| {
            let mut table = HotTable::new(number);
            for block in 0..2000 / apart {
                let heat = [Heat::Seen, Heat::Again, Heat::Often][random.next_u64() as usize % 3];
                table.push(block * apart, heat);
            }
            table
        };
        (1..=count).map(table).collect()
    }

    fn within(tables: &[HotTable], most_bytes: usize) -> Vec<HotTable> {
        let bytes = encode_within(tables.to_vec(), most_bytes);
        assert!(bytes.len() <= most_bytes, "{} bytes of {most_bytes}", bytes.len());
        decode(&bytes).unwrap()
    }

    #[test]
    fn what_fits_is_told_as_it_is() {
        let tables = tables(5, 7);
        let mut told = within(&tables, 1 << 20);
        told.sort_by_key(|table| table.content_hash);
        assert_eq!(told, tables);
    }

    #[test]
    fn what_is_coldest_is_left_out_first() {
        let all = tables(20, 7);
        let told = within(&all, encode(&all).len() * 9 / 10);
        assert!(
            told.len() == 20 && told.iter().flat_map(|table| &table.runs).all(|run| run.heat > Heat::Seen)
        );
    }

    #[test]
    fn a_memory_far_larger_than_the_hint_is_still_told_about() {
        let told = within(&tables(200, 3), 8 << 10);
        let hot: u64 = told.iter().map(HotTable::blocks).sum();
        assert!(told.len() == 200 && hot > 200 * 600, "{hot} blocks of {} tables", told.len());
        // Where there are more tables than it has room to name, some are.
        let told = within(&tables(3000, 3), 8 << 10);
        assert!(told.len() > 200, "{} tables", told.len());
    }
}
