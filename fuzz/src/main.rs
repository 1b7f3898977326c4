//! One fuzzer for all targets: `ALLUVIUM_FUZZ_TARGET` says which. `fuzz/run` builds it and runs them.
//!
//! A target must neither panic nor take more memory at once than its bytes can stand for ([`meter`]). With
//! `ALLUVIUM_FUZZ_SEEDS` it writes what to begin with into that folder, from the golden files, and ends.
#![no_main]
mod meter;
mod seeds;
mod state;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

/// Every decoder, by name.
const TARGETS: [(&str, Target); 24] = [
    ("section", alluvium_forst::fuzzing::section),
    ("block", alluvium_forst::fuzzing::block),
    ("table", alluvium_forst::fuzzing::table),
    ("whole_table", alluvium_forst::fuzzing::whole_table),
    ("value_file", alluvium_forst::fuzzing::value_file),
    ("pointer", alluvium_forst::fuzzing::pointer),
    ("delta", alluvium_forst::fuzzing::delta),
    ("hint", alluvium_forst::fuzzing::hint),
    ("manifest", alluvium_forst::fuzzing::manifest),
    ("page", alluvium_forst::fuzzing::page),
    ("payload", alluvium_forst::fuzzing::payload),
    ("mirror", alluvium_forst::fuzzing::mirror),
    ("job", alluvium_forst::fuzzing::job),
    ("claim", alluvium_forst::fuzzing::claim),
    ("result", alluvium_forst::fuzzing::result),
    ("operators", alluvium_forst::fuzzing::operators),
    ("ledger", alluvium_checkpoint::fuzzing::ledger),
    ("page_names", alluvium_checkpoint::fuzzing::page_names),
    ("canonical", alluvium_checkpoint::fuzzing::canonical),
    ("entries", alluvium_checkpoint::fuzzing::entries),
    ("source", alluvium_host::fuzzing::source),
    ("stamps", state::stamps),
    ("heap", state::heap),
    ("codecs", state::codecs),
];

fn target() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("ALLUVIUM_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found
            .unwrap_or_else(|| {
                panic!("ALLUVIUM_FUZZ_TARGET must be one of {:?}", TARGETS.map(|(name, _)| name))
            })
            .1
    })
}

fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("ALLUVIUM_FUZZ_SEEDS") {
            seeds::write(folder.as_ref(), &TARGETS.map(|(name, _)| name));
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| {
        let target = target();
        meter::within(meter::limit_of(bytes.len()), || target(bytes));
    }
);
