//! `ForSt` as a keyed state backend: the only place of this crate that knows `state-api`.
mod factory;
mod keyed;
mod reader;

pub use factory::ForstBackendFactory;
pub use reader::{StateSize, SubtaskReader};
