//! The harness of the end-to-end tests: real `quorate` processes on real addresses.
//!
//! A test opens with `let Some(lab) = lab!() else { return };` and then owns a private world: its
//! own network and mount namespaces where the system allows that, else a machine-wide lock
//! ([`place`]), and a folder that vanishes with it. Agents ([`Spec`], [`Agent`]) listen on
//! 127.0.0.x with the usual ports; nothing leaves the machine.
//!
//! Guarantees: what a test starts ends with it, by process id, also when it panics or is killed
//! (agents run until their standard input ends); nothing sleeps blindly ([`wait`]).
#![forbid(unsafe_code)]

pub mod agent;
pub mod binary;
pub mod dns;
pub mod http;
pub mod place;
pub mod process;
pub mod random;
pub mod wait;

pub use agent::{Agent, Lab, Spec, quorate};
pub use process::{Line, Output, Process};
pub use random::Random;
pub use wait::{eventually, until};
