//! The program as its users have it: the release build, real data with known answers, `kill -9`,
//! and the commands of README.

mod archive;
mod balancers;
mod bulk;
mod data;
mod deploy;
mod drill;
mod full;
mod kill;
mod outage;
mod readme;
mod schemas;
mod server;
mod small_disk;
mod tracker;

#[path = "../docs/mod.rs"]
mod docs;
#[path = "../proxy/mod.rs"]
mod proxy;
