//! User events and queries: what applications tell and ask all members.
//!
//! Both are small enough for a datagram beside a ping, have a random id and a Lamport time
//! (Lamport 1978), and are known by the pair of them.

use core::fmt;
use serde::{Deserialize, Serialize};

use crate::{
    bounded::{BoundedString, BoundedVec},
    identity::{Name, NodeId},
    record::{Pairs, Record},
};

/// Bytes of an event's or query's name and payload together, with a query's filter.
pub const EVENT_BYTES: usize = 512;
/// Bytes of one answer to a query.
pub const ANSWER_BYTES: usize = 1024;
/// The newest events are remembered, so many: what is older than all of them is too old.
pub const EVENT_WINDOW: usize = 256;
/// Events and queries on their way to others at once.
pub const EVENT_QUEUE: usize = 256;
/// Queries of this node that wait for answers at once.
pub const OWN_QUERIES: usize = 16;
/// Queries of others to which this node may still answer, at once.
pub const ASKED_QUERIES: usize = 64;
/// Shortest and longest time that a query waits for answers, milliseconds.
pub const QUERY_TIMEOUT_MS: (u32, u32) = (100, 60_000);

/// Names one event or query: 16 random bytes, shown as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, in the order in which they are shown.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NodeId::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an event or query is called: 1 to 128 bytes.
pub type EventName = BoundedString<128>;
/// What it says: any bytes.
pub type Payload = BoundedVec<u8, EVENT_BYTES>;
/// What somebody answers to a query.
pub type Answer = BoundedVec<u8, ANSWER_BYTES>;

/// Something that an application told all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEvent {
    /// Lamport time: above that of every event which its origin knew.
    pub time: u64,
    /// Its id.
    pub id: EventId,
    /// The member at which it was fired.
    pub origin: NodeId,
    /// What it is called.
    pub name: EventName,
    /// What it says.
    pub payload: Payload,
}

impl UserEvent {
    /// Is it one that a member would send?
    pub(crate) fn is_sound(&self) -> bool {
        !self.name.is_empty() && self.name.len() + self.payload.len() <= EVENT_BYTES
    }

    /// What it is known by, in the order of age.
    pub const fn key(&self) -> (u64, EventId) {
        (self.time, self.id)
    }
}

/// Who is asked: who meets all of it. Nothing in it: everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryFilter {
    /// One of these names; none: any.
    pub nodes: BoundedVec<Name, 16>,
    /// All of these tags, to the letter.
    pub tags: Pairs,
}

impl QueryFilter {
    /// Does it let a member through?
    pub fn takes(&self, r: &Record) -> bool {
        let named = self.nodes.is_empty() || self.nodes.contains(&r.name);
        named && self.tags.iter().all(|want| r.tags.iter().any(|tag| tag == want))
    }

    /// Bytes that count against [`EVENT_BYTES`].
    pub(crate) fn bytes(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(|n| n.as_str().len() + 1).sum();
        nodes + self.tags.iter().map(|(k, v)| k.len() + v.len() + 3).sum::<usize>()
    }
}

/// Something that an application asks all members, or some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Lamport time, of the same clock as the events'.
    pub time: u64,
    /// Its id: who does not know it cannot answer.
    pub id: EventId,
    /// Who asks. Answers go to the address at which it is a live member.
    pub origin: NodeId,
    /// How long the origin waits for answers, milliseconds.
    pub timeout_ms: u32,
    /// Should those who are asked say at once that they heard it?
    pub ack: bool,
    /// Who is asked.
    pub filter: QueryFilter,
    /// What it is called.
    pub name: EventName,
    /// What it says.
    pub payload: Payload,
}

impl Query {
    /// Is it one that a member would send?
    pub(crate) fn is_sound(&self) -> bool {
        let size = self.name.len() + self.payload.len() + self.filter.bytes();
        !self.name.is_empty() && size <= EVENT_BYTES
    }

    /// What it is known by, in the order of age.
    pub(crate) const fn key(&self) -> (u64, EventId) {
        (self.time, self.id)
    }
}

/// A member's reply to a query, straight to its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryReply {
    /// The query.
    pub id: EventId,
    /// Who replies.
    pub from: NodeId,
    /// The answer; none: the query was heard.
    pub answer: Option<Answer>,
}

/// The origin has a reply: it need not be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryReceipt {
    /// The query.
    pub id: EventId,
    /// The origin.
    pub from: NodeId,
    /// Was it an answer (or did it only say that the query was heard)?
    pub answer: bool,
}
