//! What the fuzz targets call (`fuzz/`): the decoder of the sources' progress. Only there with `--cfg fuzzing`.
use alluvium_env::ErrorKind;

use crate::source::SourceProgress;

/// The sources' progress, as a checkpoint has it.
pub fn source(bytes: &[u8]) {
    match SourceProgress::decode(bytes) {
        Ok(progress) => assert_eq!(&progress.encode()[..], bytes, "it is not what was written of it"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Invalid), "{error}"),
    }
}
