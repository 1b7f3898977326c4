//! What the page is made of: which comparisons stand where, and what is said about them.

/// How a comparison is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Each comparison in a table of its own.
    Apart,
    /// All comparisons in one table.
    Together,
    /// Checkpoints and restores of whole jobs.
    Jobs,
    /// The same of several systems: a table of checkpoints and one of restarts.
    Beside,
    /// Requests of checkpoints and their price.
    Cost,
}

/// A chapter of the page.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    /// Names of comparisons; one that ends with `*` stands for all that begin so.
    pub(super) compares: &'static [&'static str],
    pub(super) shown: Shown,
}

/// All chapters, in order.
pub(super) const SECTIONS: [Section; 9] = [
    Section {
        title: "In memory",
        text: "Everything fits: what does the engine itself take? One task thread asks one operation after the other (*calls*), \
               or as records of an operator (*records*). The hash map keeps no order, no files and no limit: it is what memory \
               alone allows.",
        compares: &[
            "load",
            "get",
            "get-batch",
            "rmw",
            "rmw-batch",
            "add",
            "append",
            "word-count",
            "mixed",
            "range",
            "scan",
        ],
        shown: Shown::Apart,
    },
    Section {
        title: "More data than memory, on a local disk",
        text: "Memory is a fraction of the data, and files lie in the page cache of the machine. *Records* are many reads under \
               way at once, which is how a stateful operator asks; *calls* wait for each other, as those of the peers do.",
        compares: &["get10x", "rmw10x", "rmw-zipf"],
        shown: Shown::Apart,
    },
    Section {
        title: "From an object store 15 ms away",
        text: "The primary storage is a server that speaks the protocol of S3 and answers after 15 ms; memory is a fraction of \
               the data. Requests and bytes are what is paid for.",
        compares: &["cold", "cold-batch", "cold-range", "compact"],
        shown: Shown::Apart,
    },
    Section {
        title: "How figures move",
        text: "One setting changes, everything else stays: the distance of the store, the share of the data that memory holds, the \
               reads that are under way at once, the keys that are asked for together.",
        compares: &["by-distance", "by-memory", "by-in-flight", "by-batch"],
        shown: Shown::Apart,
    },
    Section {
        title: "Checkpoints, recovery and rescale",
        text: "A whole job changes its state while it takes a checkpoint a second, stops, and is restored at other parallelisms \
               with nothing in its caches. The store is 15 ms away where nothing else is said.",
        compares: &["checkpoint", "rescale"],
        shown: Shown::Jobs,
    },
    Section {
        title: "Checkpoints and restarts, beside Apache Flink",
        text: "The same job on both changes 10 MB of its state a second and takes a checkpoint a second, or the next one as soon \
               as one is complete. Then it is restarted from its last checkpoint at other parallelisms, with empty folders: until its \
               first record is done, and until nine tenths of the rate are back. Flink tells whole milliseconds of how long tasks \
               stand still. ForSt's remote row has its files where checkpoints are, with a disk cache.",
        compares: &["job-checkpoint", "job-checkpoint-far"],
        shown: Shown::Beside,
    },
    Section {
        title: "What checkpoints cost",
        text: "Requests between one checkpoint and the next, those of flushes, compactions and reads included, and what they cost a \
               month at the list prices of Amazon S3 Standard of November 2026: $0.005 a thousand PUT, $0.0004 a thousand GET, \
               DELETE and bytes on their way for nothing, $0.023 a GB stored for a month. What is stored is what the store held at \
               the end, former checkpoints included, of values of which half compresses away; what a system has on local disks \
               besides is not in it. For longer intervals the requests of one checkpoint are taken to be as many, which is too \
               many: flushes become larger instead. More than ten GETs are reads of state, which do not wait for checkpoints: where \
               state is larger than memory and there is no disk cache, as in `checkpoint`, they are the bill.",
        compares: &["requests", "checkpoint", "job-checkpoint-far"],
        shown: Shown::Cost,
    },
    Section {
        title: "Whole jobs, beside Apache Flink",
        text: "The same job on both: a source, a keyed operator that reads a value and writes a changed one, nothing behind it; \
               one subtask. Flink runs in a local mini cluster of one JVM.",
        compares: &["job-rmw*"],
        shown: Shown::Together,
    },
    Section {
        title: "Nexmark",
        text: "Queries of the auction benchmark as operators on the host, their state in the store; answers are compared with \
               a plain computation in memory before anything is timed.",
        compares: &["nexmark*"],
        shown: Shown::Together,
    },
];

/// What a comparison asks, as a heading says it.
const TITLES: [(&str, &str); 30] = [
    ("load", "All keys in ascending order, until the last one is in a file"),
    ("get", "Single reads"),
    ("get-batch", "Reads of a thousand keys together"),
    ("rmw", "Read-modify-writes"),
    ("rmw-batch", "Read-modify-writes of a thousand keys together"),
    ("add", "Adds to sums: reducing state"),
    ("append", "Appends to lists"),
    ("mixed", "Half reads, 45 % read-modify-writes, 5 % scans of 100 entries"),
    ("word-count", "Words counted, as often as Zipf's law has them"),
    ("range", "Scans of 100 neighbouring keys"),
    ("scan", "One ordered pass over everything"),
    ("get10x", "Single reads"),
    ("rmw10x", "Read-modify-writes"),
    ("rmw-zipf", "Read-modify-writes of keys drawn by Zipf's law"),
    ("cold", "Single reads, 256 under way"),
    ("cold-batch", "64 keys together"),
    ("cold-range", "Scans of 100 neighbouring keys"),
    ("compact", "All keys in random order, until nothing is left to compact"),
    ("by-distance", "Reads by the distance of the store"),
    ("by-memory", "Reads by the share of the data that memory holds"),
    ("by-in-flight", "Reads from 15 ms away by how many are under way"),
    ("by-batch", "Reads from 15 ms away by how many keys go together"),
    ("checkpoint", "By the size of the state"),
    ("rescale", "4 GiB through a line of 1 Gbit/s, 80 ms away, all read back"),
    ("requests", "By subtasks and states"),
    ("job-checkpoint", "A checkpoint a second, on local files"),
    ("job-checkpoint-far", "A checkpoint a second, to a store 15 ms away"),
    ("job-rmw resident", "Read-modify-writes of a whole job, everything in memory"),
    ("job-rmw large", "Read-modify-writes of a whole job, far more than memory, on local files"),
    ("job-rmw remote", "Read-modify-writes of a whole job, far more than memory and disk cache, 1 ms away"),
];

/// What a comparison is called.
pub(super) fn title(compare: &str) -> &str {
    TITLES.iter().find(|(name, _)| *name == compare).map_or(compare, |(_, title)| title)
}

/// What whole jobs of several systems were compared by, of what was measured.
pub(super) fn beside<'a>(measured: &[&'a str]) -> Vec<&'a str> {
    let sections = SECTIONS.iter().filter(|section| section.shown == Shown::Beside);
    sections.flat_map(|section| section.of(measured)).collect()
}

impl Section {
    /// The section's comparisons among those that were measured; those it names in its order, others as they came.
    pub(super) fn of<'a>(&self, measured: &[&'a str]) -> Vec<&'a str> {
        let mut found = Vec::new();
        for name in self.compares {
            let is_meant = |compare: &&&str| match name.strip_suffix('*') {
                Some(prefix) => compare.starts_with(prefix),
                None => *compare == name,
            };
            found.extend(measured.iter().filter(is_meant));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_what_it_names_and_what_begins_so() {
        let measured = ["nexmark-q5", "rmw", "load", "job-rmw-far"];
        let of = |title| SECTIONS.iter().find(|section| section.title == title).unwrap().of(&measured);
        assert_eq!(of("In memory"), ["load", "rmw"]);
        assert_eq!(of("Nexmark"), ["nexmark-q5"]);
        assert_eq!(of("Whole jobs, beside Apache Flink"), ["job-rmw-far"]);
    }

    #[test]
    fn every_comparison_that_a_section_names_has_a_title() {
        let named = SECTIONS.iter().flat_map(|section| section.compares).filter(|name| !name.ends_with('*'));
        named.for_each(|name| assert_ne!(title(name), *name));
    }
}
