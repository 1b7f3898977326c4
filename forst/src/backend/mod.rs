//! `ForSt` as a keyed state backend: the only place of this crate that knows `state-api`.
mod factory;
mod keyed;
mod operators;
mod reader;

pub use factory::ForstBackendFactory;
pub use operators::StateOperators;
pub use reader::{StateSize, SubtaskReader};
