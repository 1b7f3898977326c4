//! Alluvium: disaggregated state for stream processing. This crate re-exports the rooms of the house.
pub use alluvium_async_exec as async_exec;
pub use alluvium_checkpoint as checkpoint;
pub use alluvium_env as env;
pub use alluvium_forst as forst;
pub use alluvium_host as host;
pub use alluvium_state_api as state_api;
