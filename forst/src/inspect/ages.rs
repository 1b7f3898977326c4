//! Checks what a table says of its entries' ages and of the value files it points into.
//!
//! How values are stamped only their backend knows, but pointers carry their stamps, and the sums must fit.
use crate::expiry::Ages;
use crate::table::Properties;
use crate::values::Pointer;

use super::report::TableReport;

/// What the pointers of a table have shown.
#[derive(Default)]
pub(super) struct Pointers {
    /// By the number of the value file: whether a pointer leads there.
    used: Vec<bool>,
}

impl Pointers {
    /// Checks a pointer against the properties; says what is wrong as expected and found.
    pub(super) fn check(&mut self, pointer: &[u8], properties: &Properties) -> Option<(String, String)> {
        let pointer = match Pointer::decode(pointer) {
            Ok(pointer) => pointer,
            Err(error) => return Some(("a pointer".to_owned(), error.to_string())),
        };
        let files = properties.value_files.len();
        let Some(file) = usize::try_from(pointer.file).ok().filter(|file| *file < files) else {
            return Some((
                format!("a pointer into one of {files} value files"),
                format!("into {}", pointer.file),
            ));
        };
        self.used.resize(files, false);
        if let Some(used) = self.used.get_mut(file) {
            *used = true;
        }
        let stamp = pointer.stamp?;
        let ages = properties.ages.as_ref().map_or(&[][..], |ages| &ages.classes);
        let latest =
            ages.iter().find(|age| age.class == u32::from(stamp.class)).map(|age| age.updated_millis);
        let (class, updated) = (stamp.class, stamp.updated_millis);
        (latest.is_none_or(|latest| latest < updated)).then(|| {
            let latest = latest.map_or("none at all".to_owned(), |latest| format!("the latest at {latest}"));
            (format!("an update of class {class} at {updated} or later in the ages"), latest)
        })
    }

    /// The first value file to which no pointer leads.
    fn unused(&self, properties: &Properties) -> Option<usize> {
        (0..properties.value_files.len()).find(|file| !self.used.get(*file).copied().unwrap_or(false))
    }
}

/// Checks the sums of a table whose blocks could all be read.
pub(super) fn check(properties: &Properties, pointers: &Pointers, offset: u64, report: &mut TableReport) {
    if let Some(file) = pointers.unused(properties) {
        report.find(offset, "the properties", format!("a pointer into value file {file}"), "none");
    }
    let Some(Ages { expiring, classes, raw_bytes, .. }) = &properties.ages else { return };
    let of_classes: u64 = classes.iter().fold(0, |sum, class| sum.saturating_add(class.raw_bytes));
    for (what, least, most) in [
        ("expiring entries", *expiring, properties.entries),
        ("bytes of classes", of_classes, properties.raw_bytes),
        ("bytes", *raw_bytes, properties.raw_bytes),
    ] {
        if least > most {
            report.find(offset, "the ages", format!("at most {most} {what}"), least.to_string());
        }
    }
    let mut known: Vec<u32> = classes.iter().map(|class| class.class).collect();
    known.sort_unstable();
    if let Some(twice) =
        known.windows(2).find_map(|pair| if let [a, b] = pair { (a == b).then_some(*a) } else { None })
    {
        report.find(offset, "the ages", "each class once", format!("class {twice} twice"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compression::Compression;
    use crate::deleted::DeletedRanges;
    use crate::entry::EntryKind;
    use crate::expiry::Stamp;
    use crate::inspect::verify::tests::with_tail;
    use crate::key_range::KeyRange;
    use crate::table::{FileId, Held, KeepAll, Keeping, TableBuilder, TableOptions};
    use crate::values::{ValueBuilder, ValueFile};

    const STAMP: Stamp = Stamp { class: 7, since_millis: 50, updated_millis: 100 };

    /// A table of a value that lies apart and of an entry that expires, both of one class.
    fn report(wrong: impl FnOnce(&mut Properties)) -> TableReport {
        let file = ValueFile::new(FileId(1), Held::new("1.val", Arc::new(KeepAll)));
        let mut values = ValueBuilder::new(file, Keeping::default());
        let mut table = TableBuilder::new(TableOptions {
            block_size_bytes: 512,
            table_size_bytes: 1 << 20,
            compression: Compression::Lz4,
        });
        let place = values.add(b"apple", &[7; 100], Some(STAMP));
        table.point(b"apple", &place);
        table.stamp(EntryKind::Pointer, STAMP);
        table.add(EntryKind::Put, b"fig", b"stamped");
        table.stamp(EntryKind::Put, Stamp { updated_millis: 90, ..STAMP });
        // A section for every part of the tail.
        let deleted = DeletedRanges::union([KeyRange::new(b"x", b"y")]);
        let bytes = table.finish(deleted).unwrap().payload.concat();
        with_tail(&bytes, 2, |bytes| {
            let mut properties: Properties = prost::Message::decode(bytes.as_slice()).unwrap();
            wrong(&mut properties);
            *bytes = prost::Message::encode_to_vec(&properties);
        })
    }

    #[test]
    fn ages_and_pointers_that_fit_are_sound_and_any_that_do_not_are_found() {
        assert_eq!(report(|_| ()).findings, []);
        let ages = |change: fn(&mut Ages)| report(|properties| change(properties.ages.as_mut().unwrap()));
        for (report, expected) in [
            (report(|p| p.ages = None), "class 7 at 100 or later"),
            (report(|p| p.value_files.push("2.val".to_owned())), "a pointer into value file 1"),
            (report(|p| p.value_files.clear()), "one of 0 value files"),
            (ages(|ages| ages.classes[0].updated_millis = 99), "class 7 at 100 or later"),
            (ages(|ages| ages.expiring = 3), "at most 2 expiring entries"),
            (ages(|ages| ages.classes[0].raw_bytes = 999), "bytes of classes"),
            (ages(|ages| ages.raw_bytes = 999), "bytes"),
            (ages(|ages| ages.classes.push(ages.classes[0])), "each class once"),
        ] {
            assert!(report.findings.iter().any(|f| f.expected.contains(expected)), "{expected}: {report:?}");
        }
    }
}
