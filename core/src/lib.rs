//! The quorate membership protocol as a sans-IO state machine.
//!
//! [`Node`] holds one member's whole protocol state. A driver hands it bytes, time and
//! commands, then drains its outputs until there are none:
//!
//! ```text
//! in:   handle_datagram  handle_stream  handle_timeout  handle_persisted  command
//! out:  poll_transmit    poll_stream    poll_persist    poll_event        poll_timeout
//! read: members          stats          local
//! ```
//!
//! Every input takes `now`; nothing happens between inputs. The same inputs give the same
//! outputs, byte for byte. Bytes from the network never panic and never become an error of the
//! driver: what is not understood is counted in [`Stats`], by reason, and dropped.
//!
//! The protocol is SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey
//! 2018). What differs from both is told in `docs/protocol.md`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bootstrap;
mod bounded;
mod config;
mod coordinate;
mod digest;
mod event;
mod identity;
mod math;
mod merge;
mod node;
mod output;
mod planted;
mod record;
mod rotation;
mod stats;
mod time;
pub mod wire;

pub use bootstrap::{Attempt, Ballot, ClusterId, MAX_VOTERS, Memory, Outcome, Stage, Voter};
pub use bounded::{BoundedBytes, BoundedString, BoundedVec, TooLong};
pub use config::{Config, ConfigError, Limits, Patience, Tuning};
pub use coordinate::{Coordinate, DIMENSIONS, Place};
pub use event::{
    ANSWER_BYTES, ASKED_QUERIES, Answer, EVENT_BYTES, EVENT_QUEUE, EVENT_WINDOW, EventId,
    EventName, OWN_QUERIES, Payload, QUERY_TIMEOUT_MS, Query, QueryFilter, QueryReceipt,
    QueryReply, UserEvent,
};
pub use identity::{Label, Name, NameError, NodeId, NodeIdError, Version};
pub use merge::{LARGEST_OWN_STEP, LARGEST_STEP, Order, compare, plausible};
pub use node::{Local, LocalState, Member, Node, SPOKEN as PROTOCOL_VERSIONS, Scratch};
pub use output::{
    BootstrapConflict, BootstrapState, BootstrapStatus, Command, CommandError, CommandOutcome,
    Durable, Event, JoinError, JoinId, KnownPeer, Persist, PersistToken, Quorum, QuorumVoter,
    StreamAction, StreamError, StreamEvent, StreamId, Transmit,
};
#[cfg(any(test, feature = "planted-bugs"))]
pub use planted::Bug;
pub use record::{Claim, Evidence, Pairs, PairsError, Record, Role, State, Statement};
pub use rotation::{KeyFailure, KeyringId, KeyringReport};
pub use stats::{Counter, Stats};
pub use time::Instant;
