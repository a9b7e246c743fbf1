//! The engine against its oracle, with a log that is a list of batches and a store in memory.

mod answers;
mod cold;
mod exactly_once;
mod leading;
mod reports;
mod routing;
