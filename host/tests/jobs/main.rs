//! Whole jobs on the heap backend: exact counts through stops, restores and cancellations, and how jobs fail.
mod barriers;
mod broadcast;
mod control;
mod crashes;
mod dying_store;
mod exactness;
mod failures;
mod faulty_backend;
mod held_backend;
mod load;
mod migration;
mod operators;
mod ownership;
mod policies;
mod slow_backend;
mod timers;
mod words;
