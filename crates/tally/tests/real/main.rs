//! The program as its users have it: the release build, real data with known answers, `kill -9`,
//! and the commands of README.

mod archive;
mod data;
mod drill;
mod full;
mod kill;
mod readme;
mod server;
