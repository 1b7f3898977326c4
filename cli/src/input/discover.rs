//! Finds the text files behind what the user named.
//!
//! A folder is read recursively in sorted order, without hidden entries (`.git`, our own `.alluvium`), symbolic links
//! and files that are not text. What is named explicitly is followed whatever it is.
//!
//! **Failure**: something named that is not there, or a folder that cannot be listed, is `Invalid` and nothing is read.
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use alluvium_env::{Error, HashSet, Result};

use super::InputFile;
use crate::args::is_stdin;

/// A NUL byte this early means that a file is not text.
const PROBE_BYTES: u64 = 1 << 10;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order in which they are split.
    pub(crate) files: Vec<InputFile>,
    /// Files that are not text.
    pub(crate) skipped: Vec<PathBuf>,
}

fn broken(what: &str, path: &Path, error: io::Error) -> Error {
    let way_out = match error.kind() {
        io::ErrorKind::NotFound => "check the name",
        io::ErrorKind::PermissionDenied => "ask for permission or leave it out",
        _ => "leave it out",
    };
    Error::invalid(format!("cannot read {what}{} ({way_out})", path.display())).with_source(error)
}

/// Finds all input; `exclude` names files and folders that are the job's own (its output, its state).
///
/// # Errors
/// `Invalid` if an input is not there or not readable, or if nothing is left to read.
pub(crate) fn discover(inputs: &[PathBuf], exclude: &[PathBuf]) -> Result<Found> {
    let exclude = exclude.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let mut search = Search { found: Found::default(), exclude };
    for input in inputs {
        search.input(input)?;
    }
    let found = search.found;
    if found.files.is_empty() {
        let named: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
        let why = match found.skipped.len() {
            0 => String::new(),
            n => format!(" ({n} skipped: a NUL byte in their first KiB)"),
        };
        return Err(Error::invalid(format!(
            "no text file in {}{why}; name other files or folders",
            named.join(", ")
        )));
    }
    Ok(found)
}

struct Search {
    found: Found,
    exclude: HashSet<PathBuf>,
}

impl Search {
    fn input(&mut self, input: &Path) -> Result<()> {
        let base =
            input.file_name().map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned());
        if is_stdin(input) {
            self.found.files.push(InputFile {
                path: input.to_owned(),
                name: "-".to_owned(),
                size_bytes: None,
            });
            return Ok(());
        }
        let metadata = fs::metadata(input).map_err(|e| broken("", input, e))?;
        if metadata.is_dir() {
            self.folder(input, "")
        } else if metadata.is_file() {
            self.file(input, base, metadata.len())
        } else {
            self.found.files.push(InputFile { path: input.to_owned(), name: base, size_bytes: None });
            Ok(())
        }
    }

    /// Folders nest as deep as the file system allows; `below` is the path from the input's root.
    fn folder(&mut self, folder: &Path, below: &str) -> Result<()> {
        let listing = |e| broken("folder ", folder, e);
        let entries = fs::read_dir(folder).map_err(listing)?;
        let mut entries = entries.collect::<io::Result<Vec<_>>>().map_err(listing)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if !self.exclude.is_empty() && path.canonicalize().is_ok_and(|path| self.exclude.contains(&path))
            {
                continue;
            }
            let kind = entry.file_type().map_err(|e| broken("", &path, e))?;
            let below = format!("{below}/{}", name.to_string_lossy());
            if kind.is_dir() {
                self.folder(&path, &below)?;
            } else if kind.is_file() {
                let size = entry.metadata().map_err(|e| broken("", &path, e))?.len();
                self.file(&path, below, size)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String, size: u64) -> Result<()> {
        let mut head = Vec::new();
        let file = File::open(path).map_err(|e| broken("", path, e))?;
        file.take(PROBE_BYTES).read_to_end(&mut head).map_err(|e| broken("", path, e))?;
        if head.contains(&0) {
            self.found.skipped.push(path.to_owned());
        } else {
            self.found.files.push(InputFile { path: path.to_owned(), name, size_bytes: Some(size) });
        }
        Ok(())
    }
}
