//! Behaviours of every [`crate::ports::CounterStore`].
