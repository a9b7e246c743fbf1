//! One run of the load generator against a server under test.
