//! Holds `docs/formats/value.md` to the code: its worked bytes are built, compared, read.
