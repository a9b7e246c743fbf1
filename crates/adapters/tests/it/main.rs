//! The engine on the embedded log, on a disk that crashes.

mod crash;
mod dead_letters;
mod group;
mod raw_files;
