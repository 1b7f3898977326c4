//! The checkpoint protocol from outside: a toy job on stores that fail, race and lie.
#[cfg(test)]
mod damage;
#[cfg(test)]
mod fault_sweep;
#[cfg(test)]
mod faulty_store;
#[cfg(test)]
mod fencing;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod job;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod page;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod savepoints;
