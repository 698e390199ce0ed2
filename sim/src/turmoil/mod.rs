//! The second layer: the real agent (driver, DNS and HTTP of `net-tokio`) on simulated sockets,
//! from the same scenario files as the world.
//!
//! What is real: the task that owns the node, its streams, DNS and HTTP answers, all on a tokio
//! runtime per host with virtual time. What is simulated: sockets and network (the crate
//! `turmoil`), the clock, the disk (memory that outlives the process). What turmoil's network
//! lacks is done at our own sockets: loss of single packets, bursts, duplicates, reordering,
//! corruption and the MTU of datagrams, replayed and random datagrams; retransmission, so that
//! loss delays a stream instead of breaking it; silence instead of refusal where no packet gets
//! through.
//!
//! Guarantees: the same plan gives the same events at the same virtual times; a line that this
//! layer cannot do is a [`LoadError`] that names line and step, never left out. At the end every
//! live agent is asked over the simulated network by DNS and HTTP and must say what its view
//! says.
//!
//! How steps map:
//! - `crash`: everything that ran on the host is dropped at once, the host goes on: its streams
//!   end as a kernel ends those of a killed process (FIN, or RST where bytes were unread), new
//!   ones are refused, datagrams vanish.
//! - `poweroff`: the host is cut off first and stopped then, so nobody hears of its end.
//! - `restart at new-address`: the old address falls silent, the process starts on a new host.
//! - Times are rounded up to ticks of 10 ms; latency is too: a packet takes one tick at least.
//!   Streams travel at the least latency of their link.
//! - Clocks: `drift` makes the node's timers early or late. Timeouts inside the streams' tasks
//!   and the HTTP server stay on the world's time, and there is no wall clock to be wrong.

mod agent;
mod ask;
mod clock;
mod control;
mod fabric;
mod load;
mod seen;
mod socket;
mod steps;
mod watch;

use std::{
    collections::BTreeSet,
    fmt,
    hash::Hasher,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use quorate_core::{Limits, Tuning, Version, wire::Keyring};
use siphasher::sip::SipHasher13;

use crate::{invariants::Invariant, scenario::Goal, world::Failure};
pub use load::{LoadError, Plan};

/// Most hosts, counting each address that a node moves to: the cost grows with the cube.
pub const MAX_HOSTS: usize = 20;
/// Virtual time moves on in steps of this length.
pub const TICK: Duration = Duration::from_millis(10);
/// [`TICK`] in nanoseconds.
const TICK_NS: u64 = 10_000_000;
/// More failures of one run are not kept.
const FAILURES: usize = 16;

/// How to run a plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// Constants of the protocol.
    pub tuning: Tuning,
    /// What every node seals with.
    pub keys: Option<Keyring>,
    /// Caps of every node.
    pub limits: Limits,
    /// Stop at the first failure.
    pub stop_at_failure: bool,
    /// At the end, ask every live agent by DNS and HTTP.
    pub asks: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tuning: Tuning::default(),
            keys: None,
            limits: Limits::default(),
            stop_at_failure: true,
            asks: true,
        }
    }
}

/// What changed in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Change {
    /// A member is alive that was unknown, failed or left.
    Alive = 1,
    /// It is accused.
    Suspected,
    /// It was accused and lives.
    SuspicionRefuted,
    /// It failed.
    Failed,
    /// It is leaving.
    Leaving,
    /// It left.
    Left,
    /// It is not in the list any more.
    Reaped,
}

/// A change in the view of one agent, as seen at the end of a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEvent {
    /// Virtual time, nanoseconds: a multiple of [`TICK`].
    pub t: u64,
    /// The node in whose view it is.
    pub on: u32,
    /// What changed.
    pub change: Change,
    /// The member's name.
    pub name: String,
    /// The member's version, as held.
    pub version: Version,
}

/// `12.340s n2: n3 Failed at 1.0`
impl fmt::Display for MemberEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, ms) = (self.t / 1_000_000_000, self.t / 1_000_000 % 1000);
        let Self { on, change, name, version, .. } = self;
        write!(f, "{s}.{ms:03}s n{on}: {name} {change:?} at {version}")
    }
}

/// What a run led to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Virtual time at the end, nanoseconds.
    pub end: u64,
    /// Every change of every view, in order.
    pub events: Vec<MemberEvent>,
    /// What was broken, in order. `cause` is 0: this layer has no trace of causes.
    pub failures: Vec<Failure>,
    /// What was met.
    pub goals: BTreeSet<Goal>,
    /// Answers by DNS and by HTTP that agreed with the views.
    pub answers: u64,
}

impl Outcome {
    /// A hash of all events with their times.
    pub fn hash(&self) -> u64 {
        let mut h = SipHasher13::new();
        for e in &self.events {
            h.write_u64(e.t);
            h.write_u32(e.on);
            h.write_u8(e.change as u8);
            h.write(e.name.as_bytes());
            h.write_u64(e.version.generation);
            h.write_u32(e.version.incarnation);
        }
        h.finish()
    }

    fn fail(&mut self, check: impl Into<String>, node: u32, t: u64, message: impl Into<String>) {
        if self.failures.len() < FAILURES {
            let (check, message) = (check.into(), message.into());
            self.failures.push(Failure { check, t, node, message, cause: 0, place: None });
        }
    }
}

/// Runs a plan. A panic in an agent or in the network becomes a failure like any other.
pub fn run(plan: &Plan, options: &Options) -> Outcome {
    let run = AssertUnwindSafe(|| control::Runner::new(plan, options).run());
    catch_unwind(run).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let mut outcome = Outcome::default();
        outcome.fail(Invariant::S10.name(), 0, 0, text.unwrap_or("a panic without a message"));
        outcome
    })
}
