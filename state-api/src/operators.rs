//! Merge operators by name: for processes that fold what others have written, such as a compactor.
//!
//! ```
//! use alluvium_state_api::{OperatorRegistry, Reduce};
//!
//! struct Max;
//! impl Reduce for Max {
//!     type Value = u64;
//!     fn reduce(a: u64, b: u64) -> u64 {
//!         a.max(b)
//!     }
//!     fn name() -> Option<&'static str> {
//!         Some("max:u64")
//!     }
//! }
//!
//! let operators = OperatorRegistry::default().with::<Max>();
//! assert!(operators.get("max:u64").is_some() && operators.get("sum:u64").is_some());
//! assert!(operators.get("min:u64").is_none());
//! ```
use std::sync::Arc;

use alluvium_env::HashMap;

use crate::merge::{Aggregating, Reducing};
use crate::{Aggregate, MergeOperator, Reduce, Sum};

/// Operators of reducing and aggregating states by [`MergeOperator::name`]. The default knows those of this crate; whoever
/// has functions of their own adds them.
#[derive(Clone)]
pub struct OperatorRegistry {
    operators: HashMap<String, Arc<dyn MergeOperator>>,
}

impl Default for OperatorRegistry {
    fn default() -> Self {
        let empty = Self { operators: HashMap::default() };
        empty.with::<Sum<u64>>().with::<Sum<i64>>()
    }
}

impl OperatorRegistry {
    /// Adds a function; one without a name is not found.
    #[must_use]
    pub fn with<R: Reduce>(self) -> Self {
        self.with_operator(Arc::new(Reducing::<R>::default()))
    }

    /// Adds a function that aggregates; one without a name is not found.
    #[must_use]
    pub fn with_aggregate<A: Aggregate>(self) -> Self {
        self.with_operator(Arc::new(Aggregating::<A>::default()))
    }

    /// Adds an operator in the place of another one of its name; one without a name is not found.
    #[must_use]
    pub fn with_operator(mut self, operator: Arc<dyn MergeOperator>) -> Self {
        if let Some(name) = operator.name().map(str::to_owned) {
            self.operators.insert(name, operator);
        }
        self
    }

    /// The operator of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn MergeOperator>> {
        self.operators.get(name)
    }
}
