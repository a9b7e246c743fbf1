//! Behaviours of every [`crate::ports::EventLog`].
