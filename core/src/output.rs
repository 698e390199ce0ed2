//! What goes in and out of the node beside time: commands, stream traffic, disk, events.

mod bootstrap;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

use crate::{
    bootstrap::Memory,
    bounded::BoundedVec,
    event::{ANSWER_BYTES, EVENT_BYTES, EventId, Query, QueryFilter, UserEvent},
    identity::{Label, Name, NodeId, Version},
    record::{Evidence, Pairs, Record},
    rotation::{KeyringId, KeyringReport},
    wire::{Key, KeyError, KeyOp, Keyring},
};

pub use bootstrap::{BootstrapConflict, BootstrapState, BootstrapStatus, Quorum, QuorumVoter};

/// A byte stream (TCP) between two members. The node numbers what it opens, the driver what it
/// accepts; the two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The `n`-th stream that the driver accepted.
    pub const fn accepted(n: u64) -> Self {
        Self(n << 1 | 1)
    }

    /// The `n`-th stream that the node opened.
    pub(crate) const fn opened(n: u64) -> Self {
        Self(n << 1)
    }

    /// Was it accepted (rather than opened) here?
    pub const fn is_accepted(self) -> bool {
        self.0 & 1 == 1
    }

    /// A number that no other stream of this node has.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// How a stream ended, or why it never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamError {
    /// The host answered that nobody listens.
    Refused,
    /// It was open and broke.
    Reset,
    /// No route, or the network said so.
    Unreachable,
    /// Nothing came back in time.
    TimedOut,
}

/// What the driver saw on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent<'a> {
    /// Somebody connected to the gossip port.
    Accepted {
        /// The remote end.
        from: SocketAddr,
    },
    /// A stream that the node opened is connected.
    Connected,
    /// Bytes, in order.
    Data(&'a [u8]),
    /// The remote end will send no more.
    Finished,
    /// The stream is gone. Nothing follows for this id.
    Failed(StreamError),
}

/// What the driver must do with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// Connect. `Connected` or `Failed` follows.
    Open {
        /// The new stream.
        id: StreamId,
        /// Where to.
        to: SocketAddr,
    },
    /// Send, after all that was given before.
    Write {
        /// The stream.
        id: StreamId,
        /// What to send.
        bytes: Vec<u8>,
    },
    /// Send what is queued, then close in both directions. Nothing about it comes back.
    Close {
        /// The stream.
        id: StreamId,
    },
    /// Close at once (with a reset where that can be). Nothing about it comes back.
    Abort {
        /// The stream.
        id: StreamId,
    },
}

/// A datagram that [`crate::Node::poll_transmit`] wrote into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// Bytes of the buffer to send.
    pub len: usize,
}

/// Names one [`Persist`]; handed back through `handle_persisted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistToken(pub(crate) u64);

/// Something to put on stable storage (fsync) before the token is handed back.
///
/// A later one replaces an earlier one. Packets that depend on it wait for the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// To be handed back once it is stable.
    pub token: PersistToken,
    /// All that must survive.
    pub state: Durable,
    /// The keys, if the node seals; secret, so they are kept apart from the rest.
    pub keys: Option<Keyring>,
}

/// A member that was seen alive, kept to find the cluster again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    /// The member.
    pub id: NodeId,
    /// Its name then.
    pub name: Name,
    /// Its address then.
    pub addr: SocketAddr,
}

/// What survives a crash. The driver's storage keeps it whole: the old one or the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// Who we are.
    pub id: NodeId,
    /// The last generation that may have been seen by others.
    pub generation: u64,
    /// We left on purpose: a restart does not go back by itself.
    pub left: bool,
    /// Whom to contact after a restart.
    pub peers: Arc<BoundedVec<KnownPeer, 1024>>,
    /// The part in the bootstrap agreement.
    pub bootstrap: Memory,
}

impl Durable {
    /// A member that never ran.
    pub fn new(id: NodeId) -> Self {
        let (peers, bootstrap) = (Arc::default(), Memory::blank());
        Self { id, generation: 0, left: false, peers, bootstrap }
    }
}

/// Names one join attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub(crate) u64);

/// What an operator or application asks of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Contact `addr` and merge with its cluster. [`Event::JoinFinished`] tells the outcome.
    Join {
        /// The gossip address of any member.
        addr: SocketAddr,
    },
    /// Leave. [`Event::LeaveFinished`] says when the process may end.
    Leave,
    /// Declare a failed member as left. A member that is alive refutes it.
    ForceLeave {
        /// Its name.
        name: Name,
        /// Forget it at once instead of after the tombstone time.
        prune: bool,
    },
    /// Tell all members something, once. [`Event::User`] follows here, too.
    UserEvent {
        /// What it is called: 1 to 128 bytes.
        name: String,
        /// What it says: with the name at most [`EVENT_BYTES`] bytes.
        payload: Vec<u8>,
    },
    /// Ask members. [`Event::QueryAnswer`] and one [`Event::QueryDone`] follow, unless the node
    /// leaves before.
    Query {
        /// What it is called: 1 to 128 bytes.
        name: String,
        /// What it says: with name and filter at most [`EVENT_BYTES`] bytes.
        payload: Vec<u8>,
        /// Who is asked.
        filter: QueryFilter,
        /// Should they say at once that they heard it?
        ack: bool,
        /// How long answers are waited for, milliseconds, brought into
        /// [`crate::QUERY_TIMEOUT_MS`]; 0: as long as gossip takes to reach all, with a reserve.
        timeout_ms: u32,
    },
    /// Answer a query once.
    Answer {
        /// Which one ([`Event::QueryReceived`]).
        id: EventId,
        /// What to say: at most [`ANSWER_BYTES`] bytes.
        payload: Vec<u8>,
    },
    /// Publish these in place of what the agent said of itself so far.
    SetTags(Pairs),
    /// Publish these in place of what the operator said of the node so far.
    SetMeta(Pairs),
    /// Accept what is sealed with this key, too.
    InstallKey(Key),
    /// Seal with this key from now on; it is in the keyring already.
    UseKey(Key),
    /// Accept this key no more. Refused while this agent or somebody it hears seals with it.
    RemoveKey(Key),
    /// The same on all live members. [`Event::KeyringFinished`] tells the outcome.
    Keyring(KeyOp),
}

/// What a command started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// Done.
    Done,
    /// A join is on its way.
    Joining(JoinId),
    /// The event or query is on its way.
    Fired {
        /// Its id.
        id: EventId,
        /// Its Lamport time.
        time: u64,
    },
    /// The members are being asked.
    Keyring(KeyringId),
}

/// Why a command was refused. The node's state is as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No member has that name.
    #[error("No node found with name '{0}'")]
    UnknownMember(Name),
    /// The node is leaving or has left.
    #[error("the agent is leaving")]
    Leaving,
    /// `force-leave` of the node itself.
    #[error("'{0}' is this agent itself: use leave")]
    Myself(Name),
    /// Too many joins at once.
    #[error("{0} joins are under way already")]
    Busy(usize),
    /// An event or query needs a name of 1 to 128 bytes.
    #[error("the name of an event has 1 to 128 bytes, this one has {0}")]
    EventName(usize),
    /// An event or query does not fit a datagram.
    #[error("name, payload and filters have {0} bytes together, at most {EVENT_BYTES} fit")]
    EventTooLarge(usize),
    /// An answer does not fit a datagram.
    #[error("the answer has {0} bytes, at most {ANSWER_BYTES} fit")]
    AnswerTooLarge(usize),
    /// Too many events or queries are on their way.
    #[error("{0} events or queries are on their way already")]
    EventsBusy(usize),
    /// The Lamport clock is at its end: it does not wrap.
    #[error("the clock of the events is used up")]
    EventClock,
    /// The query waits no longer, or was answered here.
    #[error("no query {0} waits for an answer of this agent")]
    UnknownQuery(EventId),
    /// A keyring was to be changed, and there is none.
    #[error("this agent is not encrypted: start it with -encrypt")]
    NotSealed,
    /// One keyring operation at a time: another one that was asked of this agent goes on.
    #[error("this agent carries out another keyring operation: try again when that has ended")]
    KeyringBusy,
    /// The keyring cannot be changed so.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Why a join did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No usable stream to the address.
    #[error("{}", stream_error(*.0))]
    Stream(StreamError),
    /// Who answers there does not speak this protocol.
    #[error("the answer is not from a quorate agent")]
    NotQuorate,
    /// The remote end closed before it had answered.
    #[error("closed by the remote end before it had answered")]
    Closed,
    /// The answer did not come in time.
    #[error("no answer in time")]
    TimedOut,
    /// It belongs to another cluster.
    #[error("Member '{name}' part of wrong datacenter '{label}'")]
    WrongLabel {
        /// Who answered.
        name: Name,
        /// Its datacenter.
        label: Label,
    },
    /// Our name is taken by a live member.
    #[error("the name '{name}' is taken by a live member at {addr} (node id {holder})")]
    NameTaken {
        /// The name.
        name: Name,
        /// Who has it.
        holder: NodeId,
        /// Where the holder is.
        addr: SocketAddr,
    },
    /// No protocol version in common.
    #[error("protocol versions {min} to {max} are spoken there, none of them here")]
    Incompatible {
        /// Oldest spoken there.
        min: u8,
        /// Newest spoken there.
        max: u8,
    },
    /// It is leaving, or full.
    #[error("the member there is leaving or has no room")]
    Unavailable,
    /// Not both sides seal, or not with the same key.
    #[error(
        "the agent there has another encryption key, or only one of the two is encrypted (-encrypt)"
    )]
    Key,
    /// The address is our own.
    #[error("that is this agent's own address")]
    Myself,
    /// We left meanwhile.
    #[error("the agent is leaving")]
    Leaving,
}

const fn stream_error(e: StreamError) -> &'static str {
    match e {
        StreamError::Refused => "connection refused",
        StreamError::Reset => "connection reset by peer",
        StreamError::Unreachable => "no route to host",
        StreamError::TimedOut => "i/o timeout",
    }
}

/// What happened. Invariant (S7): the events of one member alternate between `Alive` and down
/// (`Failed`, `Left`, `Failed` and later `Left`, or `Unconfirmed`), and replaying them gives the
/// live members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member is new, or back.
    Alive {
        /// The member.
        record: Arc<Record>,
    },
    /// A live member published a change of address, name, tags or meta.
    Updated {
        /// The member as it is now.
        record: Arc<Record>,
    },
    /// A member is accused; it stays a member for now.
    Suspected {
        /// The member.
        record: Arc<Record>,
        /// Who accuses it.
        by: NodeId,
        /// What the accuser met.
        evidence: Evidence,
    },
    /// A suspected member spoke up.
    SuspicionRefuted {
        /// The member.
        record: Arc<Record>,
    },
    /// A member failed.
    Failed {
        /// The member.
        record: Arc<Record>,
    },
    /// A member left.
    Left {
        /// The member.
        record: Arc<Record>,
    },
    /// A live member that was only heard of did not answer anybody: it is off the list as if it
    /// had never been on it. (Counts as down.)
    Unconfirmed {
        /// The member.
        record: Arc<Record>,
    },
    /// A failed or left member was forgotten.
    Reaped {
        /// The member.
        record: Arc<Record>,
    },
    /// We were accused and raised our version.
    Refuted {
        /// What was claimed of us.
        by: NodeId,
        /// Our version now.
        version: Version,
    },
    /// A join ended.
    JoinFinished {
        /// Which one.
        id: JoinId,
        /// Where to.
        addr: SocketAddr,
        /// Members learned, or what went wrong.
        result: Result<usize, JoinError>,
    },
    /// Our record says `Left` at enough members (or nobody else is there, or time is up).
    LeaveFinished {
        /// Members that confirmed.
        confirmed: usize,
    },
    /// Another live member uses the same name.
    NameConflict {
        /// The other member.
        other: Arc<Record>,
        /// The one that had the name before (this node, or a member).
        holder: Arc<Record>,
    },
    /// A keyring operation has ended on all members, or cannot go on.
    KeyringFinished {
        /// Which one.
        id: KeyringId,
        /// Who did what.
        report: Box<KeyringReport>,
    },
    /// Another live member has held our name for longer: this node leaves, `LeaveFinished` follows.
    NameLost {
        /// Who keeps the name.
        holder: Arc<Record>,
    },
    /// A live member is reached through others or over streams only, or answers by itself again.
    Degraded {
        /// The member.
        record: Arc<Record>,
        /// Is it so now?
        degraded: bool,
    },
    /// The process was away for this long; deadlines were shifted.
    Paused {
        /// Milliseconds.
        gap_ms: u64,
    },
    /// The bootstrap quorum, as seen here, changed.
    Bootstrap {
        /// As it is now.
        status: Box<BootstrapStatus>,
    },
    /// A server does not fit the bootstrap of this one.
    BootstrapConflict {
        /// The server.
        server: Arc<Record>,
        /// Why.
        conflict: BootstrapConflict,
    },
    /// An application told all members something.
    User {
        /// What.
        event: Arc<UserEvent>,
    },
    /// Somebody asks this node; [`Command::Answer`] answers.
    QueryReceived {
        /// What.
        query: Arc<Query>,
    },
    /// Somebody answered a query of this node; each member does once at most.
    QueryAnswer {
        /// The query.
        id: EventId,
        /// Who answered (this node or a member).
        from: NodeId,
        /// What it said.
        payload: Vec<u8>,
    },
    /// A query of this node is over.
    QueryDone {
        /// The query.
        id: EventId,
        /// Members that said that they heard it, or answered.
        acks: usize,
        /// Members that answered.
        answers: usize,
        /// Members that were asked: the live ones that the filter took at its start.
        expected: usize,
    },
    /// The queue of events was full: so many are missing. `members()` has the truth.
    Lost {
        /// Events dropped.
        count: u64,
    },
}
