//! Behaviours that every adapter of a port must show. An adapter's tests call these with a way to
//! make and reopen it.

pub mod counter_store;
pub mod event_log;
pub mod item_details;
pub mod mem_cold;
pub mod mem_store;
pub mod query_cache;
pub mod routing_store;
