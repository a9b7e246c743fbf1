//! The Rust client: speaks the contract over HTTP/1.1.
