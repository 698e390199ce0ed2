//! Deterministic simulator for quorate clusters.
//!
//! [`Scenario`] is the language, [`World`] runs one: virtual time, a network, clocks and disks
//! with faults, and [`quorate_core::Node`] as it is. [`sweep`] draws scenarios, [`shrink`] makes
//! a failing one small, [`compare`] measures profiles on equal seeds, and any of the [`constants`].
//!
//! Guarantee: the same scenario gives the same trace hash, in debug and release, on any thread.
//! Every random decision is a keyed function of what it decides, never a draw from a shared
//! stream, so taking a step out of a scenario leaves the rest as it was.
#![forbid(unsafe_code)]

pub mod aim;
pub mod checks;
pub mod clock;
pub mod compare;
pub mod constants;
pub mod corpus;
pub mod disk;
mod extras;
pub mod generate;
mod hostile;
pub mod invariants;
pub mod keyed;
pub mod network;
mod paths;
mod pool;
pub mod program;
pub mod regress;
pub mod render;
pub mod runner;
pub mod scenario;
pub mod shrink;
pub mod sweep;
pub mod trace;
pub mod turmoil;
pub mod world;

pub use program::Program;
pub use scenario::Scenario;
pub use world::World;
