//! What a local folder's store leaves of a write that was cut off: `name#N` beside the name that never came to be.
//!
//! The store writes every object under such a name first and then gives it its own. It neither lists nor deletes these
//! names, so a killed process would leave them for ever. The owner of a folder sees them as objects, and deletes them like
//! any other that nobody needs.
use std::fs;
use std::io;
use std::path::Path as FsPath;

use object_store::path::Path;
use object_store::{Error, ObjectMeta, Result};

/// The names of such files below a folder of the store, with their sizes. A folder that is gone has none.
pub(super) fn list(root: &FsPath, prefix: &Path) -> Vec<Result<ObjectMeta>> {
    let mut found = Vec::new();
    let folder = root.join(prefix.as_ref());
    match walk(&folder, prefix, &mut found) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => found.push(Err(failed(error))),
        _ => {}
    }
    found
}

fn walk(folder: &FsPath, prefix: &Path, found: &mut Vec<Result<ObjectMeta>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let Ok(location) = Path::parse(format!("{prefix}/{name}")) else { continue };
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &location, found)?;
        } else if is_leftover(&location) {
            // It may get its own name at this moment.
            let Ok(metadata) = entry.metadata() else { continue };
            let (last_modified, size) = (metadata.modified()?.into(), metadata.len());
            found.push(Ok(ObjectMeta { location, last_modified, size, e_tag: None, version: None }));
        }
    }
    Ok(())
}

/// Whether a name is one of these.
pub(super) fn is_leftover(location: &Path) -> bool {
    let number = location.filename().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Deletes one.
pub(super) fn delete(root: &FsPath, location: &Path) -> Result<()> {
    match fs::remove_file(root.join(location.as_ref())) {
        Ok(()) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(Error::NotFound { path: location.to_string(), source: source.into() })
        }
        Err(source) => Err(failed(source)),
    }
}

fn failed(source: io::Error) -> Error {
    Error::Generic { store: "LocalFileSystem", source: source.into() }
}
