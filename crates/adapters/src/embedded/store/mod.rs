//! The counter store on fjall.
