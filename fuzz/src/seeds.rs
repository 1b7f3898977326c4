//! What the targets begin with: the golden files, taken apart.
use std::fs;
use std::path::{Path, PathBuf};

use alluvium_checkpoint::fuzzing::{ledger_seed, payloads};
use alluvium_forst::fuzzing::{payload_seeds, seeds};

/// Writes a folder for each target, with what it has to begin with.
pub(crate) fn write(folder: &Path, targets: &[&str]) {
    for target in targets {
        fs::create_dir_all(folder.join(target)).unwrap();
    }
    let mut number = 0;
    let mut keep = |target: &str, seed: &[u8]| {
        number += 1;
        fs::write(folder.join(target).join(format!("golden-{number}")), seed).unwrap();
    };
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")) {
        let object = fs::read(&path).unwrap();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for (target, seed) in seeds(&name, &object) {
            keep(target, &seed);
        }
        if let Some(seed) = ledger_seed(&object) {
            keep("ledger", &seed);
            for (target, seed) in payloads(&object).iter().flat_map(|payload| payload_seeds(payload)) {
                keep(target, &seed);
            }
        }
    }
    keep("pointer", &[0, 1, 28, 32, 0, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31, 0]);
    keep("stamps", &[1, 18, 0, 10, 0, 0, 0, 0, 0x68, 0xe5, 0xcf, 0x8b, 1, 0, 0, b'a', b'b', 8, 0, 0, 0]);
    let source = "0105000000000000 00612e747874 0900000000000000 0100000000000000 0000000000000000 0300000000000000 00000000 00000000";
    let digits: Vec<u8> = source.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    keep("source", &digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<_>>());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
